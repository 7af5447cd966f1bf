"""Original label values and class indices."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.transforms import MapLabelsd, RestoreLabelsd

VALUES = torch.tensor([[[0, 420, 5, 205, 9, 420]]], dtype=torch.int32)


def test_gaps_and_unlisted_values():
    indices = MapLabelsd("label", [0, 5, 205, 420])({"label": VALUES})["label"]
    assert indices.dtype == torch.uint8 and indices.tolist() == [[[0, 3, 1, 2, 0, 3]]]
    values = RestoreLabelsd("label", [0, 5, 205, 420])({"label": indices})["label"]
    assert values.tolist() == [[[0, 420, 5, 205, 0, 420]]]


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([0, 1], torch.uint8), ([0, 255], torch.uint8), ([0, 256], torch.uint16), ([0, 0xFF0000], torch.int32)],
)
def test_smallest_type_that_holds_all_labels(labels, dtype):
    for present in (0, 1):
        values = RestoreLabelsd("x", labels)({"x": torch.full((1, 2), present, dtype=torch.uint8)})["x"]
        assert values.dtype == dtype and values.numpy().max() == labels[present]


def test_packed_colours_and_negative_values():
    labels = [0, 0x010203, 0xFF0000]
    values = torch.tensor([[0xFF0000, 0x010203, 77, -3]], dtype=torch.int32)
    assert MapLabelsd("label", labels)({"label": values})["label"].tolist() == [[2, 1, 0, 0]]


def test_many_classes():
    labels = list(range(0, 900, 3))
    values = torch.tensor(labels)[None]
    indices = MapLabelsd("label", labels)({"label": values})["label"]
    assert indices.dtype == torch.int16 and indices[0].tolist() == list(range(300))
    assert torch.equal(RestoreLabelsd("label", labels)({"label": indices})["label"].long(), values)


def test_meta_data_and_missing_keys():
    label = MetaTensor(
        VALUES, affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta={"filename_or_obj": "x.nii"}
    )
    mapped = MapLabelsd("label", [0, 5], allow_missing_keys=True)({"label": label})["label"]
    assert mapped.meta["filename_or_obj"] == "x.nii" and mapped.affine[2, 2] == 4
    assert MapLabelsd("label", [0, 5], allow_missing_keys=True)({"image": 1}) == {"image": 1}


def test_values_that_are_one_class_are_restored_to_the_first():
    labels = [0, 5, [205, 420]]
    indices = MapLabelsd("label", labels)({"label": VALUES})["label"]
    assert indices.tolist() == [[[0, 2, 1, 2, 0, 2]]]
    assert RestoreLabelsd("label", labels)({"label": indices})["label"].tolist() == [
        [[0, 205, 5, 205, 0, 205]]
    ]


def test_background_of_another_value():
    """REFUGE: 0 is the optic cup, 128 the rest of the disc, 255 background; 77 is not listed."""
    values = torch.tensor([[255, 128, 0, 77]], dtype=torch.uint8)
    indices = MapLabelsd("label", [255, 0, 128])({"label": values})["label"]
    assert indices.tolist() == [[0, 2, 1, 0]]
    restored = RestoreLabelsd("label", [255, 0, 128])({"label": indices})["label"]
    assert restored.dtype == torch.uint8 and restored.tolist() == [[255, 128, 0, 255]]


@pytest.mark.parametrize("labels", [[], [5, 6], [0, 5, 5], [0, -1], [0, []], [0, [1, 2], 2]])
def test_wrong_lists(labels):
    with pytest.raises(ValueError, match="background first and 0 among them"):
        MapLabelsd("label", labels)


def test_index_beyond_labels():
    with pytest.raises(ValueError, match="indices must be 0 to 1, got 0 to 2"):
        RestoreLabelsd("pred", [0, 5])({"pred": torch.from_numpy(np.arange(3, dtype=np.uint8))})


def test_voxels_that_nobody_labelled_have_the_largest_index():
    values = torch.tensor([0, 5, 9, 7])
    made = MapLabelsd("label", [0, 5], ignore=9)({"label": values})["label"]
    assert made.tolist() == [0, 1, 255, 0]
    many = MapLabelsd("label", list(range(256)), ignore=300)({"label": torch.tensor([255, 300])})["label"]
    assert many.tolist() == [255, 32767]
    with pytest.raises(UserFault, match="both a class and what nobody labelled"):
        MapLabelsd("label", [0, 5], ignore=5)
