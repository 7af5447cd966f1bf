"""Walking slab by slab: the labels of the whole walk, in a few planes."""

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from small_volumes import oblique_affine

from pgsam_monai.inference import slabs
from pgsam_monai.inference.confidence import KEY, SoftDice
from pgsam_monai.inference.patches import LabelPlanes, PatchInferer, restore_labels
from pgsam_monai.inference.slabs import Layout, Slabs, thinnest_axis, walk
from pgsam_monai.transforms.resample import resample_volume
from pgsam_monai.voxels.grid import grid_size

ONE_MM = (1.0, 1.0, 1.0)


class Kept:
    """Takes planes and keeps them."""

    def __init__(self, context=0):
        self.context, self.taken = context, []

    def kept(self, final):
        return max(0, final - self.context)

    def take(self, logits, first, new):
        self.taken.append((first, new, logits.clone()))  # whose memory the next planes get


def blurred(classes, seed=0):
    """A network whose logits depend on a voxel's neighbours, and so on where windows lie."""
    torch.manual_seed(seed)
    return torch.nn.Conv3d(1, classes + 1, 3, padding=1).requires_grad_(False)


def placed(volumes, spacing):
    return MetaTensor(volumes, affine=torch.from_numpy(oblique_affine(spacing)))


def the_whole_walk(inputs, network, patch, spacing, overlap):
    """Labels (B, 1, H, W, D) and Soft Dice by MONAI's own walk."""
    labels, sure = [], []
    for volume in inputs.as_tensor():
        own = tuple(volume.shape[1:])
        grid = grid_size(own, inputs.affine[:3, :3].norm(dim=0).tolist(), spacing)
        window = SlidingWindowInferer(patch, 1, overlap=overlap, mode="gaussian")
        logits = window(resample_volume(volume, grid)[None], network)
        sure.append(SoftDice())
        sure[-1].add(logits)
        labels.append(restore_labels(logits[0], own))
    return torch.stack(labels), torch.stack([each.per_class() for each in sure])


@pytest.fixture
def in_slabs(monkeypatch):
    """However small a volume is, its logits are handed on plane by plane."""
    monkeypatch.setattr(slabs, "WHOLE", 0)
    monkeypatch.setattr(slabs, "PIECE", 1)


@pytest.mark.usefixtures("in_slabs")
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("overlap", [0, 0.5, 0.75])
@pytest.mark.parametrize(
    ("size", "patch", "own", "planned"),
    [
        ((13, 11, 21), (6, 6, 6), (1.0, 1.0, 1.0), None),
        ((23, 10, 9), (4, 8, 8), (0.7, 1.1, 0.9), ONE_MM),  # the walk goes along the rows
        ((10, 23, 9), (8, 4, 8), (0.7, 0.7, 2.5), ONE_MM),  # columns; slices come to more
        ((9, 8, 12), (8, 8, 4), (0.8, 0.8, 3.0), (1.0, 1.0, 2.0)),  # slices, which come to more
        ((15, 14, 11), (6, 6, 8), (2.0, 0.5, 1.3), ONE_MM),
        ((15, 7, 20), (6, 12, 6), (1.0, 1.0, 1.0), (0.9, 0.9, 1.2)),  # columns smaller than the patch
        ((5, 6, 4), (8, 8, 8), (0.8, 0.8, 0.8), ONE_MM),  # the whole volume is
        ((16, 12, 12), (8, 8, 8), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),  # one window is all
    ],
)
def test_labels_are_those_of_the_whole_walk(size, patch, own, planned, overlap, classes):
    inputs, network = placed(torch.rand(1, 1, *size), own), blurred(classes)
    expected, sure = the_whole_walk(inputs, network, patch, planned, overlap)
    labels = PatchInferer(patch, planned, overlap, batch_size=2)(inputs, network)
    assert expected.unique().numel() > 1 and torch.equal(labels.as_tensor(), expected)
    torch.testing.assert_close(labels.meta[KEY], sure, equal_nan=True, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("in_slabs")
def test_each_volume_of_a_batch_has_its_own():
    inputs, network = placed(torch.rand(3, 1, 12, 9, 14), (0.8, 0.9, 1.5)), blurred(3)
    labels = PatchInferer((6, 6, 6), ONE_MM)(inputs, network)
    alone = [PatchInferer((6, 6, 6), ONE_MM)(inputs[place : place + 1], network) for place in range(3)]
    assert torch.equal(labels.as_tensor(), torch.cat([each.as_tensor() for each in alone]))
    assert torch.equal(
        labels.meta[KEY].nan_to_num(), torch.cat([one.meta[KEY] for one in alone]).nan_to_num()
    )


@pytest.mark.usefixtures("in_slabs")
@pytest.mark.parametrize("own", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (2.0, 2.0, 2.0)])
def test_the_lower_index_wins_a_tie_and_many_classes_are_told_apart(own):
    def network(windows):
        logits = torch.zeros(len(windows), 300, *windows.shape[2:])
        logits[:, 298] = logits[:, 299] = windows[:, 0]
        logits[:, 0] = logits[:, 1] = 1 - windows[:, 0]
        return logits

    volume = torch.zeros(1, 1, 8, 8, 16)
    volume[..., 8:] = 1
    labels = PatchInferer((4, 4, 4), ONE_MM)(placed(volume, own), network)
    assert labels.dtype == torch.int16
    assert torch.equal(labels.as_tensor(), 298 * volume.short())


def test_windows_lie_as_monais_one_row_after_the_other():
    layout = Layout(size=(3, 9, 4), patch=(4, 4, 4), overlap=0.5, axis=1)
    assert layout.padded == (4, 9, 4) and layout.before == (0, 0, 0)
    assert [place[1].start for place in layout.places] == [0, 2, 4, 5]
    assert Layout(size=(2, 9, 1), patch=(4, 4, 4), overlap=0.5, axis=1).before == (1, 0, 1)
    volume = torch.arange(12.0).reshape(1, 3, 4, 1)
    assert (
        Layout(size=(3, 4, 1), patch=(4, 4, 4), overlap=0, axis=0)
        .pad(volume)[0, :3, :, 1]
        .equal(volume[0, ..., 0])
    )


def test_the_walk_goes_where_it_holds_least():
    assert thinnest_axis((20, 30, 10), (8, 8, 8)) == 1
    assert thinnest_axis((20, 20, 20), (8, 8, 4)) == 2
    assert thinnest_axis((4, 20, 20), (8, 8, 8)) == 1  # a slab across rows is the whole volume
    assert thinnest_axis((9, 9, 9), (3, 3, 3)) == 0


@pytest.mark.usefixtures("in_slabs")
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_come_once_each_and_no_more_are_held_than_a_slab(axis, context, monkeypatch):
    size, patch = (11, 12, 13), (4, 4, 4)
    made = []
    monkeypatch.setattr(slabs, "Slabs", lambda *words: made.append(Slabs(*words)) or made[0])
    taker, network, volume = Kept(context), blurred(2), torch.rand(1, *size)
    layout = Layout(size=size, patch=patch, overlap=0.5, axis=axis)
    assert walk(volume, layout, network, batch_size=3, device=volume.device, taker=taker) is None
    assert [new for _, new, _ in taker.taken] == list(range(size[axis]))
    assert [first for first, _, _ in taker.taken] == [max(0, new - context) for new in range(size[axis])]
    assert len(made) == 1 and made[0].values.shape[axis + 1] == 4 + context
    expected = SlidingWindowInferer(patch, 1, overlap=0.5, mode="gaussian")(volume[None], network)[0]
    found = torch.cat(
        [part.narrow(axis + 1, new - first, 1) for first, new, part in taker.taken], dim=axis + 1
    )
    torch.testing.assert_close(found, expected)


def test_what_fits_is_held_whole(monkeypatch):
    taker, volume = Kept(), torch.rand(1, 8, 8, 8)
    layout = Layout(size=(8, 8, 8), patch=(4, 4, 4), overlap=0.5, axis=0)
    words = {"batch_size": 2, "device": volume.device, "taker": taker}
    monkeypatch.setattr(slabs, "WHOLE", 3 * 8**3 * 4)
    assert walk(volume, layout, blurred(2), **words).shape == (3, 8, 8, 8) and not taker.taken
    assert walk(volume, layout, blurred(3), **words) is None and taker.taken


@pytest.mark.usefixtures("in_slabs")
def test_above_the_limit_sums_are_float16(monkeypatch):
    """Which tells classes apart that differ by more than its rounding."""
    inputs, network = placed(torch.rand(1, 1, 14, 12, 13), (0.8, 0.9, 1.5)), blurred(3)
    exact = PatchInferer((6, 6, 6), ONE_MM)(inputs, network).as_tensor()
    logits = PatchInferer((6, 6, 6), ONE_MM, output="logits")(inputs, network).as_tensor()
    best, second = logits.topk(2, dim=1).values.unbind(1)
    monkeypatch.setattr(slabs, "LIMIT", 0)
    rounded = PatchInferer((6, 6, 6), ONE_MM)(inputs, network).as_tensor()
    other = (rounded != exact)[:, 0]
    assert other.float().mean() < 5e-3 and ((best - second)[other] < 5e-3).all()


@pytest.mark.usefixtures("in_slabs")
def test_what_float16_cannot_hold_is_cut(monkeypatch):
    monkeypatch.setattr(slabs, "LIMIT", 0)
    taker, volume = Kept(), torch.ones(1, 4, 4, 8)
    layout = Layout(size=(4, 4, 8), patch=(4, 4, 4), overlap=0.5, axis=2)

    def network(windows):
        return torch.cat([windows * 1e6, windows], dim=1)

    walk(volume, layout, network, batch_size=1, device=volume.device, taker=taker)
    found = torch.cat([part for _, _, part in taker.taken], dim=3)
    assert found.isfinite().all() and (found[0] > 100 * found[1]).all()
    torch.testing.assert_close(found[1], volume[0], atol=5e-3, rtol=0)


@pytest.mark.usefixtures("in_slabs")
def test_one_bar_over_all_batches_and_each_window_once(monkeypatch):
    bars, seen = [], []
    monkeypatch.setattr(slabs, "tqdm", lambda steps, **_: bars.append(len(steps)) or steps)

    def network(windows):
        seen.append(len(windows))
        return windows.repeat(1, 2, 1, 1, 1)

    inputs = torch.rand(1, 1, 4, 4, 12)  # five windows
    PatchInferer((4, 4, 4), batch_size=2, progress=True)(inputs, network)
    assert bars == [3] and seen == [2, 2, 1]
    PatchInferer((4, 4, 4), batch_size=2)(inputs, network)
    assert bars == [3]


def test_planes_of_the_label_map_wait_for_what_they_are_made_of():
    """Of 4 planes 8 are made: the first of the first alone, the second of both beside it."""
    taker = LabelPlanes((1, 1, 4), (1, 1, 8), 2, None)
    assert [taker.kept(final) for final in range(5)] == [0, 0, 1, 2, 4]
    logits = torch.tensor([[0.4, 0.4, 0.4, 0.4], [0, 1, 0, 0]]).reshape(2, 1, 1, 4)
    taker.take(logits[..., :2], 0, 0)
    assert taker.placed == 3 and taker.labels[0, 0, 0, :3].tolist() == [0, 0, 1]
    taker.take(logits[..., 1:3], 1, 2)
    taker.take(logits[..., 2:], 2, 3)
    assert taker.labels[0, 0, 0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert torch.equal(taker.labels, restore_labels(logits, (1, 1, 8)))
