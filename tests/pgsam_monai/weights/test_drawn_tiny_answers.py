"""drawn_tiny as it ships: it knows left from right and up from down, obeys clicks, and answers what was asked."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.zero_shot import load_zero_shot

NAME = "drawn_tiny"
pytestmark = pytest.mark.skipif(KNOWN_WEIGHTS[NAME].sha256 is None, reason="the weights aren't trained yet")
SIZE, RADIUS = 128, 12
PLACES = {"upper left": (36, 32), "upper right": (40, 92), "lower left": (88, 36), "lower right": (94, 96)}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_weights(NAME, window=(0.0, 1.0), device="cpu", precision="fp32")


def disc(place: tuple[int, int]) -> np.ndarray:
    rows, columns = np.ogrid[:SIZE, :SIZE]
    return (rows - place[0]) ** 2 + (columns - place[1]) ** 2 <= RADIUS**2


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Four discs alike on a dark ground with a little noise, (i, j, k): rows along i, columns along j, three slices."""
    grey = np.full((SIZE, SIZE), 0.3) + 0.02 * np.random.default_rng(0).normal(size=(SIZE, SIZE))
    for place in PLACES.values():
        grey[disc(place)] += 0.4
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


AFFINES = {
    "radiologists' order": np.diag([-1.0, -1.0, 3.0, 1.0]),
    "turned": np.array([[0.0, 0.8, 0.1, 5], [1.1, 0.05, 0, 0], [0, -0.1, 4.0, 0], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("axes", AFFINES)
@pytest.mark.parametrize("asked", PLACES)
def test_the_answer_lies_where_the_click_does_and_nowhere_else(asked, axes, picture, segmenter):
    segmenter.set_image(picture, AFFINES[axes])
    segmenter.add_click((*PLACES[asked], 1))
    found = segmenter.mask()
    assert overlap(found[..., 1], disc(PLACES[asked])) > 0.8
    for name, place in PLACES.items():
        if name != asked:
            assert found[..., 1][disc(place)].mean() < 0.05, f"{asked} is mirrored to {name}"
    assert all(
        overlap(found[..., at], disc(PLACES[asked])) > 0.7 for at in (0, 2)
    )  # the same disc, beside it


def test_a_box_says_which_of_them_is_meant(picture, segmenter):
    segmenter.set_image(picture, np.diag([-1.0, -1.0, 3.0, 1.0]))
    row, column = PLACES["lower left"]
    segmenter.add_box((row - RADIUS, row + RADIUS, column - RADIUS, column + RADIUS, 1, 1))
    assert overlap(segmenter.mask()[..., 1], disc(PLACES["lower left"])) > 0.85


def test_a_second_click_adds_what_it_points_to_and_a_negative_one_takes_it_away(picture, segmenter):
    segmenter.set_image(picture, np.diag([-1.0, -1.0, 3.0, 1.0]))
    first, second = PLACES["upper left"], PLACES["lower right"]
    segmenter.add_click((*first, 1))
    segmenter.add_click((*second, 1))
    both = segmenter.mask()[..., 1]
    assert both[first] and both[second]
    segmenter.add_click((second[0] + 3, second[1] + 3, 1), positive=False)
    assert not segmenter.mask()[second[0] + 3, second[1] + 3, 1]


def test_a_mirrored_picture_is_answered_mirrored(picture, segmenter):
    """Nothing in the network is mirrored by construction: it has learnt positions."""
    network = segmenter.model.network
    image = torch.from_numpy(picture[..., 0])[None, None]
    row, column = PLACES["upper left"]
    answers = []
    for pixels, x in ((image, column), (image.flip(-1), SIZE - 1 - column)):
        point = torch.tensor([[[float(x), float(row)]]])
        with torch.no_grad():
            answer, _ = network.answer_pairs(
                network.embed(pixels), point, torch.ones(1, 1).long(), torch.zeros(1).long()
            )
        answers.append(answer[0].numpy() > 0)
    assert overlap(answers[0], answers[1][:, ::-1]) > 0.85


PROBE = 18
"""Radius of a disc of 1009 pixels."""


def test_one_click_brings_a_missed_disc_and_one_takes_a_false_island_away(tmp_path):
    """What a Gaussian on the logits couldn't: it gained a pixel, and the island survived eight clicks."""
    rows, columns = np.ogrid[:SIZE, :SIZE]
    missed = (rows - 36) ** 2 + (columns - 40) ** 2 <= PROBE**2
    island = (rows - 92) ** 2 + (columns - 84) ** 2 <= 20**2  # 1257 pixels of nothing
    grey = (
        np.full((SIZE, SIZE), 0.3) + 0.02 * np.random.default_rng(0).normal(size=(SIZE, SIZE)) + 0.4 * missed
    )
    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(grey[..., None].astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0])), file)
    model = load_zero_shot(NAME, window=(0.0, 1.0), device="cpu", precision="fp32")
    segmenter = Segmenter(model, background="everything", finds=lambda _: island[..., None].astype(np.uint8))
    segmenter.set_image(file)
    assert missed.sum() == 1009 and island.sum() == 1257
    segmenter.add_click((36, 40, 0))
    assert overlap(segmenter.mask()[..., 0] & ~island, missed) > 0.8 and segmenter.mask()[island].all()
    segmenter.add_click((92, 84, 0), positive=False)
    assert not segmenter.mask()[island].any() and overlap(segmenter.mask()[..., 0], missed) > 0.8
