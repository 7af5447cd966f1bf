"""Published weights without a bundle: preprocessing per image, and where slices lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_volumes import oblique_affine, write_case

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import Weights
from pgsam_monai.interactive import zero_shot
from pgsam_monai.interactive.segmenter import CORRECTOR, Segmenter
from pgsam_monai.interactive.zero_shot import OrientSlicesd, load_zero_shot
from pgsam_monai.transforms import ReadCased


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Weights named `tiny`, random ones of the small backbone."""
    record = Weights(
        name="tiny", url="https://example.org/tiny.pth", sha256=None, size_bytes=None, licence="Apache-2.0",
        backbone="vit_tiny",
    )  # fmt: skip
    monkeypatch.setitem(zero_shot.KNOWN_WEIGHTS, "tiny", record)
    real = zero_shot.MedSA
    monkeypatch.setattr(zero_shot, "MedSA", lambda **options: real(**{**options, "weights": None}))


def test_the_network_is_sam_and_knows_no_class(known):
    model = load_zero_shot("tiny", {"liver": 5, "spleen": 1}, image_size=32, window=(-160, 240), device="cpu")
    assert model.labels == {"liver": 5, "spleen": 1} and model.values == [0, 5, 1]
    assert not model.knows_everything and model.trained_with_masks and not model.network.training
    assert torch.allclose(model.network.pixel_mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert load_zero_shot("tiny", image_size=32, device="cpu").labels == {"object": 1}


def test_it_segments_from_a_file_and_measures_labels(known, tmp_path):
    from pgsam_monai.evaluation.interaction.measure import InteractionSettings, measure_interaction

    item = write_case(tmp_path, shape=(20, 18, 5), values=[0, 5])
    segmenter = Segmenter.from_weights("tiny", {"liver": 5}, image_size=32, window=(-160, 240), device="cpu")
    segmenter.set_image(item["image"])
    segmenter.add_click((3, 4, 2), "liver")
    assert segmenter.prediction.shape == (20, 18, 5) and set(np.unique(segmenter.prediction)) <= {0, 5}
    scores = measure_interaction(segmenter.model, {"name": "one", **item}, InteractionSettings(clicks=(1,)))
    assert {one.prompts for one in scores.scores} >= {"1 click", "box"}
    assert not any("everything" in one.prompts for one in scores.scores)


def test_clicks_on_weights_that_learnt_none_are_left_to_others(known, monkeypatch):
    taught = zero_shot.KNOWN_WEIGHTS["tiny"]
    monkeypatch.setitem(zero_shot.KNOWN_WEIGHTS, CORRECTOR, replace(taught, name=CORRECTOR, image_size=32))
    monkeypatch.setitem(
        zero_shot.KNOWN_WEIGHTS, "boxes", replace(taught, name="boxes", prompts="knows boxes")
    )

    def made(weights, **options):
        return Segmenter.from_weights(weights, image_size=32, device="cpu", **options)

    own = made("tiny")
    assert own.corrector is own.model
    left = made("boxes")
    assert left.model.source == "'boxes' as published"
    assert left.corrector.source == f"'{CORRECTOR}' as published" and left.corrector.labels == {"object": 1}
    asking = made("boxes", corrections="ask")
    assert asking.corrector is asking.model
    assert made("boxes", corrector=own.model).corrector is own.model


@pytest.mark.parametrize(
    "spacing, plane, shape",
    [((0.7, 0.9, 2.5), None, (7, 9, 5)), ((2.5, 0.9, 0.7), None, (5, 7, 9)), ((1, 1, 1), None, (7, 9, 5)),
     ((0.7, 0.9, 2.5), "coronal", (5, 9, 7))],
)  # fmt: skip
def test_slices_lie_across_the_largest_spacing_or_as_told(tmp_path, spacing, plane, shape):
    item = write_case(tmp_path, affine=oblique_affine(spacing))
    data = OrientSlicesd(["image", "label"], plane, allow_missing_keys=True)(
        ReadCased(["image", "label"])(item)
    )
    assert tuple(data["image"].shape[1:]) == tuple(data["label"].shape[1:]) == shape


def test_pictures_lie_as_they_are(tmp_path):
    from PIL import Image

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    data = OrientSlicesd("image")(ReadCased("image")({"image": str(tmp_path / "photo.png")}))
    np.testing.assert_array_equal(data["image"][0, ..., 0], pixels)


def test_faults_are_told(known):
    with pytest.raises(UserFault, match="got 'lite_medsm'. Did you mean 'lite_medsam'"):
        load_zero_shot("lite_medsm")
    with pytest.raises(ValueError, match="plane must be one of axial, coronal, sagittal, got 'oblique'"):
        load_zero_shot("tiny", plane="oblique")
