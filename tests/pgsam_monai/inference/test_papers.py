"""The papers' label maps and figures, against their protocol written down plainly."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure, zoom

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.mirroring import MirrorInferer
from pgsam_monai.inference.papers import BothInferer, measured
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.metrics import evaluate_case, summarise
from pgsam_monai.transforms.fit import papers_labels, unfit_labels
from pgsam_monai.voxels.frame import slice_frame

SIDE, LEVELS = 24, torch.tensor([0.05, 0.25, 0.45, 5.0, 0.8, 6.0])
SPACING = (0.7, 0.8, 5.0)
LABELS = {"found": 1, "also found": 2, "missed": 3, "spurious": 4, "absent": 5}


def network(images):
    """(n, 1, S, S) -> (n, 6, S, S): the class whose grey value is the nearest."""
    return -((images - LEVELS.to(images)[:, None, None]) ** 2)


def case():
    """A volume (37, 45, 4) of soft blobs, and a reference that has what isn't found and lacks what is."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:37, :45]
    image = np.full((37, 45, 4), 0.04, np.float32)
    reference = np.zeros(image.shape, np.uint8)
    for depth in range(4):
        for value, grey, centre in ((1, 0.26, (10, 11)), (2, 0.46, (24, 30)), (4, 0.8, (8, 35))):
            near = (rows - centre[0] - depth) ** 2 + 0.7 * (columns - centre[1]) ** 2 < (4 + depth) ** 2
            image[..., depth][near] = grey
            if value != 4:
                reference[..., depth][np.roll(near, 1, axis=1)] = value
    reference[30:33, 5:9, 1] = 3
    return image + rng.normal(0, 0.004, image.shape).astype(np.float32), reference


def by_their_code(image):
    """`test_single_volume` in plain words: per slice a spline to the network's size, the highest class, and back."""
    found = np.zeros(image.shape, int)
    for depth in range(image.shape[2]):
        x, y = image.shape[:2]
        small = zoom(image[..., depth], (SIDE / x, SIDE / y), order=3)
        highest = network(torch.from_numpy(small)[None, None]).argmax(dim=1)[0].numpy()
        found[..., depth] = zoom(highest, (x / SIDE, y / SIDE), order=0)
    return found


def surface_distances(one, other):
    faces = generate_binary_structure(one.ndim, 1)
    edges = [mask ^ binary_erosion(mask, faces) for mask in (one, other)]
    return distance_transform_edt(~edges[1])[edges[0]]


def their_figures(found, reference):
    """Dice and HD95 as medpy has them, in voxels; their rule for what is empty."""
    if found.any() and reference.any():
        dice = 2 * np.count_nonzero(found & reference) / (found.sum() + reference.sum())
        both = np.hstack([surface_distances(found, reference), surface_distances(reference, found)])
        return dice, np.percentile(both, 95)
    return (1, 0) if found.any() else (0, 0)


@pytest.mark.parametrize("sampling", ["cubic", "linear"])
def test_label_maps_and_figures_are_theirs(sampling):
    """Whatever the bundle's own slices look like: theirs are made of theirs."""
    image, reference = case()
    plain = SliceInferer(SIDE, "stretch", batch_size=3, sampling=sampling)
    inputs = MetaTensor(torch.from_numpy(image)[None, None])
    both = BothInferer(plain)(inputs, network)
    assert isinstance(both, MetaTensor) and both.dtype == torch.uint8 and "soft_dice" in both.meta
    assert torch.equal(both[:, :1].as_tensor(), plain(inputs, network).as_tensor())
    theirs = both[0, 1].numpy()
    expected = by_their_code(image)
    assert np.array_equal(theirs, expected)
    assert (both[0, 0].numpy() != theirs).any()
    row = evaluate_case(theirs, reference, labels=LABELS, spacing=SPACING, protocol="papers")
    figures = [their_figures(expected == value, reference == value) for value in LABELS.values()]
    assert np.allclose([(each.dice, each.hd95) for each in row.classes], figures, rtol=1e-14, atol=0)
    assert figures[2:] == [(0, 0), (1, 0), (0, 0)]
    assert 0.6 < figures[0][0] < 1 and 0 < figures[0][1]
    assert summarise([row]).score("mean", "dice").mean == pytest.approx(np.mean(figures, axis=0)[0])


def test_a_network_that_knows_their_slices_runs_once():
    calls = []

    def counting(images):
        calls.append(len(images))
        return network(images)

    inputs = torch.from_numpy(case()[0])[None, None]
    BothInferer(SliceInferer(SIDE, "stretch", sampling="cubic"))(inputs, counting)
    assert calls == [4]
    BothInferer(SliceInferer(SIDE, "stretch"))(inputs, counting)
    assert calls == [4, 4, 4]


def test_answers_that_they_dont_know_are_refused():
    stretched = SliceInferer(SIDE, "stretch")
    assert measured(stretched, "mm") is stretched
    assert isinstance(measured(stretched, "papers"), BothInferer)
    for inferer, protocol, fault in (
        (MirrorInferer(stretched, [0]), "papers", "would be of MirrorInferer; give --protocol mm"),
        (SliceInferer(SIDE, "pad"), "papers", "plan it with fit=stretch"),
        (stretched, "inches", "takes mm or papers, got inches"),
    ):
        with pytest.raises(UserFault, match=fault):
            measured(inferer, protocol)
    with pytest.raises(UserFault, match="here they are padded"):
        papers_labels(torch.zeros(1, 2, 8, 8), slice_frame(4, 8, 8))


@pytest.mark.parametrize(
    ("radius", "ours", "theirs"),
    [(6, 95.4, 89.7), (10, 97.6, 94.0), (16, 98.3, 96.4), (30, 99.2, 98.0)],
)
def test_what_a_perfect_network_of_224_could_reach(radius, ours, theirs):
    """Dice of discs on slices of 512, of logits that are the disc, sampled linearly at each of the network's pixels."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:512, :512]
    frame, dice = slice_frame(512, 512, 224, "stretch", "cubic"), []
    for centre in 256 + rng.uniform(-20, 20, (12, 2)):
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
        answer = torch.from_numpy(zoom(disc.astype(np.float32), 224 / 512, order=1)) - 0.5
        logits = torch.stack([-answer, answer])[None]
        maps = [make(logits, frame)[0, 0].numpy() for make in (unfit_labels, papers_labels)]
        dice.append([200 * (found * disc).sum() / (found.sum() + disc.sum()) for found in maps])
    assert np.mean(dice, axis=0) == pytest.approx([ours, theirs], abs=0.5)
