"""Stray pieces and holes of predicted structures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pgsam_monai.base.cleaning import Cleaning
from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.transforms.cleaning import CleanClassesd
from pgsam_monai.voxels.cleaning import clean

LABELS = [0, 5, [7, 8]]


def pieces(*sizes):
    """A row of pieces of class 1 with one voxel between them, in a volume."""
    row = [value for size in sizes for value in [*[1] * size, 0]]
    return np.array(row, np.uint8).reshape(1, -1, 1).repeat(3, axis=0)[..., None].reshape(3, -1, 1)


def sizes_of(row):
    return [len(piece) // 1 for piece in "".join(map(str, row)).split("0") if piece]


@pytest.mark.parametrize(
    ("share", "left"),
    [(0.0, [8, 4, 1]), (0.1, [8, 4, 1]), (0.2, [8, 4]), (0.5, [8, 4]), (0.6, [8]), (1.0, [8])],
)
def test_pieces_are_dropped_by_their_share_of_the_largest(share, left):
    cleaned = clean(pieces(8, 4, 1), {1: Cleaning(pieces=share)})
    assert sizes_of(cleaned[0, :, 0]) == left


def test_a_structure_never_vanishes_and_equals_stay():
    assert sizes_of(clean(pieces(1), {1: Cleaning(pieces=1.0)})[0, :, 0]) == [1]
    assert sizes_of(clean(pieces(4, 4), {1: Cleaning(pieces=1.0)})[0, :, 0]) == [4, 4]
    nothing = np.zeros((3, 3, 3), np.uint8)
    assert not clean(nothing, {1: Cleaning(pieces=1.0, fill=True)}).any()


def test_only_enclosed_background_is_filled():
    shell = np.zeros((7, 7, 7), np.uint8)
    shell[1:6, 1:6, 1:6] = 1
    shell[2:5, 2:5, 2:5] = 0
    shell[3, 3, 3] = 2
    cleaned = clean(shell, {1: Cleaning(fill=True)})
    assert (cleaned == 1).sum() == 125 - 1 and cleaned[3, 3, 3] == 2 and not cleaned[0].any()
    shell[3, 3, 5] = 0  # open now
    assert np.array_equal(clean(shell, {1: Cleaning(fill=True)}), shell)


def test_a_single_slice_is_filled_within_its_contour():
    ring = np.ones((5, 5, 1), np.uint8)
    ring[1:4, 1:4] = 0
    assert clean(ring, {1: Cleaning(fill=True)}).all()


def test_a_dropped_piece_within_another_structure_is_filled():
    volume = np.ones((5, 5, 5), np.uint8)
    volume[2, 2, 2] = 2
    volume = np.concatenate([volume, np.full((4, 5, 5), 2, np.uint8)])
    cleaned = clean(volume, {1: Cleaning(fill=True), 2: Cleaning(pieces=1.0)})
    assert cleaned[2, 2, 2] == 1 and (cleaned == 2).sum() == 100


def written(tmp_path, **changes):
    structures = [{"value": 5, "pieces": 0, "fill": False}, {"value": 7, "pieces": 0.5, "fill": True}]
    content = {"labels": [[0], [5], [7, 8]], "structures": structures} | changes
    (tmp_path / "postprocessing.json").write_text(json.dumps(content))
    return tmp_path / "postprocessing.json"


def test_the_plan_holds_until_there_is_a_file(tmp_path):
    file, options = tmp_path / "postprocessing.json", {"labels": LABELS, "largest": [5]}
    assert CleanClassesd("pred", file=file, **options).cleanings == {1: Cleaning(pieces=1.0)}
    written(tmp_path)
    assert CleanClassesd("pred", file=file, **options).cleanings == {2: Cleaning(pieces=0.5, fill=True)}
    assert CleanClassesd("pred", file=file, enabled=False, **options).cleanings == {}


def test_maps_keep_their_type_and_shape(tmp_path):
    prediction = torch.from_numpy(pieces(8, 1))[None]
    cleaned = CleanClassesd("pred", labels=LABELS, largest=[5], file=tmp_path / "none")({"pred": prediction})[
        "pred"
    ]
    assert cleaned.shape == prediction.shape and cleaned.dtype == prediction.dtype
    assert cleaned.sum() == 24 and prediction.sum() == 27


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": [[0], [5]]}, "chosen for other labels than the bundle's; delete it"),
        ({"structures": [{"value": 5, "pieces": 2, "fill": True}]}, "structures/0/pieces"),
        ({"structures": [{"value": 5}]}, "structures/0"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(tmp_path, changes, said):
    with pytest.raises(DamagedFile, match=said):
        CleanClassesd("pred", labels=LABELS, largest=[], file=written(tmp_path, **changes))
