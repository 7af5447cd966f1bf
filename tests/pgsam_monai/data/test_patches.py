"""Patches: right voxels at the right place, the drawn class at their centre, and the same in every process."""

import multiprocessing

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from small_volumes import KEYS, bundle_preprocessing, oblique_affine, write_case
from torch.utils.data import DataLoader

from pgsam_monai.data.datasets import CaseDataset, SliceDataset
from pgsam_monai.data.patches import PatchDataset, axis_window
from pgsam_monai.data.samplers import ClassAwareSliceSampler, SliceDraw
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.data.store import CaseStore, StoredCase
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.transforms.resample import resample_labels, resample_volume
from pgsam_monai.voxels.grid import grid_size

SPACING = (0.5, 0.5, 2.0)
"""mm of the cases' voxels, rows, columns and slices after orientation"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("patches")


@pytest.fixture(scope="module")
def store(folder):
    return CaseStore(folder / "store", bundle_preprocessing(), workers=1)


@pytest.fixture(scope="module")
def items(folder):
    """(14, 12) pixels on 7 and 8 slices: the first axis on disk becomes the columns."""
    affine = oblique_affine(SPACING)
    return [write_case(folder, f"case{n}", seed=n, shape=(12, 14, 7 + n), affine=affine) for n in range(2)]


@pytest.fixture(scope="module")
def volume(items, store):
    """The second case as it is stored, float32."""
    read = CaseDataset(items, store, progress=False)[1]
    return {key: read[key].as_tensor().float() for key in KEYS}


def places_of(patch: torch.Tensor, volume: torch.Tensor) -> list[tuple[int, ...]]:
    """Every corner at which the volume (C, H, W, D) holds the patch."""
    windows = volume
    for axis, side in enumerate(patch.shape[1:], start=1):
        windows = windows.unfold(axis, side, 1)
    same = torch.isclose(windows, patch[:, None, None, None], atol=1e-5).flatten(4).all(-1).all(0)
    return [tuple(place) for place in same.nonzero().tolist()]


def test_an_item(items, store):
    dataset = PatchDataset(items, store, [4, 6, 2], None, progress=False)
    item = dataset[7 + 5]
    assert (item["name"], item["slice"]) == ("case1", 5)
    assert item["image"].shape == (1, 4, 6, 2) and item["label"].shape == (1, 4, 6, 2)
    assert item["image"].dtype == torch.float32 and item["label"].dtype == torch.float32
    assert type(item["image"]) is torch.Tensor and len(dataset) == 7 + 8


def test_places_and_classes_are_those_of_the_slices(items, store):
    patches = PatchDataset(items, store, [4, 4, 4], None, progress=False)
    slices = SliceDataset(items, store, 16, progress=False)
    assert np.array_equal(patches.places, slices.places) and patches.classes == slices.classes == [1, 2, 3]
    for label in patches.classes:
        assert np.array_equal(patches.slices_holding(label), slices.slices_holding(label))


@pytest.mark.parametrize(
    ("spacing", "patch", "index", "corner"),
    [
        (None, (4, 6, 3), 4, (5, 3, 3)),  # around voxel (7, 6, 4)
        (None, (4, 6, 3), 0, (5, 3, 0)),  # moved back inside
        (None, (5, 5, 5), 7, (5, 4, 3)),
        (None, (14, 12, 8), 2, (0, 0, 0)),
        ((1, 1, 2), (4, 3, 3), 4, (1, 1, 3)),  # in plane two voxels become one: (7.5, 6.5) / 2 - (4, 3) / 2
        ((0.5, 0.5, 1), (4, 4, 4), 4, (5, 4, 7)),  # slices become two: around 4.5 * 2
        ((1, 1, 1), (4, 3, 5), 7, (1, 1, 11)),
    ],
)
def test_a_patch_is_a_window_of_the_resampled_volume(items, store, volume, spacing, patch, index, corner):
    item = PatchDataset(items, store, patch, spacing, progress=False)[7 + index]
    grid = grid_size((14, 12, 8), SPACING, spacing)
    assert places_of(item["image"], resample_volume(volume["image"], grid)) == [corner]
    assert corner in places_of(item["label"], resample_labels(volume["label"], grid))


def test_planned_spacing_that_divides_nothing(folder, store):
    """On smooth data patch and volume agree to the half voxel that is promised."""
    item = write_case(folder, "smooth", shape=(24, 26, 11), affine=oblique_affine((0.7, 0.9, 2.5)))
    import nibabel as nib

    image = nib.load(item["image"])
    ramp = 5 * np.arange(24)[:, None, None] + 3 * np.arange(26)[:, None] + 8 * np.arange(11)
    nib.save(nib.Nifti1Image(ramp.astype(np.int16), image.affine), item["image"])
    dataset = PatchDataset([item], store, [8, 10, 9], [1.0, 1.0, 1.0], progress=False)
    stored = dataset.cases[0].read_volume()["image"].as_tensor()
    grid = grid_size(stored.shape[1:], (0.9, 0.7, 2.5), (1, 1, 1))
    whole = resample_volume(stored, grid)
    assert dataset.grids == [grid] == [(23, 17, 28)]
    for index in range(11):
        windows = whole.unfold(1, 8, 1).unfold(2, 10, 1).unfold(3, 9, 1)
        apart = (windows - dataset[index]["image"][:, None, None, None]).abs().flatten(4).amax(-1).min()
        steps = (
            3 * 26 / 23 + 5 * 24 / 17 + 8 * 11 / 28
        ) / 400  # of one voxel along each axis, on the 0..1 scale
        assert apart < steps / 2


@pytest.mark.parametrize(
    ("arguments", "window"),
    [
        ((5, 10, 10, 4), (3, 4, 4, 0)),
        ((9, 10, 10, 4), (6, 4, 4, 0)),
        ((0, 10, 10, 4), (0, 4, 4, 0)),
        ((2, 3, 3, 8), (0, 3, 3, -2)),
        ((2, 3, 3, 4), (0, 3, 3, 0)),
        ((0, 6, 3, 8), (0, 6, 3, -2)),
        # two voxels become one: 6 to 13, and two more on both sides
        ((10, 20, 10, 4), (4, 12, 6, 1)),
        ((0, 20, 10, 4), (0, 10, 5, 0)),
        # one becomes two: 9 to 12 lie on 4 to 6, one more on both sides
        ((5, 10, 20, 4), (3, 5, 10, 3)),
        # 7 and 8 of 12 lie on 2.9 to 3.75, of 5; 1 to 4 become 9.6 voxels, rounded
        ((3, 5, 12, 2), (1, 4, 10, 5)),
    ],
)
def test_windows_along_an_axis(arguments, window):
    centre, native, resampled, patch = arguments
    assert axis_window(centre, native=native, resampled=resampled, patch=patch) == window


def test_windows_never_leave_the_volume_and_hold_their_centre():
    for native, resampled, patch in [
        (7, 7, 3),
        (50, 20, 8),
        (9, 43, 16),
        (13, 31, 30),
        (5, 40, 1),
        (40, 5, 4),
    ]:
        for centre in range(native):
            window = axis_window(centre, native=native, resampled=resampled, patch=patch)
            assert 0 <= window.start and window.start + window.count <= native
            assert 0 <= window.offset <= window.size - patch
            step = native / resampled
            first, last = (window.start + (window.offset + n) * step for n in (0, patch))
            assert first - step / 2 <= centre + 0.5 <= last + step


def test_the_drawn_class_is_at_the_centre(items, store, volume):
    dataset = PatchDataset(items, store, [3, 5, 4], None, progress=False)
    seen = set()
    for seed in range(60):
        label = 1 + seed % 3
        item = dataset[SliceDraw(7 + 4, seed, label)]
        (corner,) = places_of(item["image"], volume["image"])
        seen.add(corner[:2])
        row, column = corner[0] + 1, corner[1] + 2
        inside = 0 < corner[0] < 14 - 3 and 0 < corner[1] < 12 - 5
        assert not inside or volume["label"][0, row, column, 4] == item["label"][0, 1, 2, 2] == label
    assert len(seen) > 30


def test_uniform_draws_go_anywhere_in_the_slice(items, store, volume):
    dataset = PatchDataset(items, store, [1, 1, 1], None, progress=False)
    found = [dataset[SliceDraw(7 + 4, seed)] for seed in range(400)]
    values = {round(float(item["image"]), 4) for item in found}
    assert values <= {round(float(v), 4) for v in volume["image"][..., 4].unique()} and len(values) > 80
    share = sum(float(item["label"]) == 0 for item in found) / 400
    assert abs(share - float((volume["label"][..., 4] == 0).float().mean())) < 0.1


def test_foreground_and_background_patches_are_one_to_one(folder, store):
    import nibabel as nib

    item = write_case(folder, "rare", shape=(20, 20, 6), values=[0], affine=np.diag([1, 1, 3, 1]))
    label = nib.load(item["label"])
    array = np.asarray(label.dataobj).copy()
    array[3:5, 8:10, 2:4] = 5
    nib.save(nib.Nifti1Image(array, label.affine), item["label"])
    dataset = PatchDataset([item], store, [1, 1, 1], None, progress=False)
    sampler = ClassAwareSliceSampler(dataset, 300, foreground_share=0.5, seed=0)
    share = sum(float(dataset[draw]["label"]) for draw in sampler) / 300
    assert abs(share - 0.5) < 0.06


def test_small_volumes_lie_as_inference_sees_them(items, store):
    """Smaller along every axis, the patch is the window that the inferer gives to the network."""
    patch, spacing, seen = (16, 9, 20), (1.0, 1.0, 1.0), []
    dataset = PatchDataset(items, store, patch, spacing, progress=False)

    def network(windows):
        seen.append(windows.clone())
        return windows

    batch = dataset.cases[0].read_volume()["image"][None]
    PatchInferer(patch, spacing)(batch, network)
    item = dataset[SliceDraw(3, 5)]
    assert len(seen) == 1 and torch.equal(seen[0][0], item["image"])
    assert item["image"][0, :4].max() == 0 and item["image"][0, 11:].max() == 0  # 7 of 16 rows
    assert item["label"][0, 4:11, 1:7, 3:17].max() == 3 and item["label"][..., :3].max() == 0


def test_only_the_slices_it_needs_are_read(items, store, monkeypatch):
    native = PatchDataset(items, store, [4, 4, 3], None, progress=False)
    finer = PatchDataset(items, store, [4, 4, 2], [0.5, 0.5, 0.5], progress=False)
    read, real = [], StoredCase.read_slice
    monkeypatch.setattr(StoredCase, "read_slice", lambda case, index: read.append(index) or real(case, index))
    native[7 + 4]
    assert read == [3, 4, 5]
    read.clear()
    finer[7 + 4]  # slices become four: 17 and 18 of them lie on slice 4, between its neighbours
    assert read == [3, 4, 5]


def test_several_channels(folder, items, store):
    pair = [items[0]["image"], write_case(folder, "second", seed=9, shape=(12, 14, 7),
            affine=oblique_affine(SPACING))["image"]]  # fmt: skip
    data = [{"image": pair, "label": items[0]["label"]}]
    both = PatchDataset(data, store, [5, 4, 4], [1, 1, 1], progress=False)[3]["image"]
    alone = [{"image": path, "label": items[0]["label"]} for path in pair]
    first, second = (
        PatchDataset([one], store, [5, 4, 4], [1, 1, 1], progress=False)[3]["image"] for one in alone
    )
    assert both.shape == (2, 5, 4, 4)
    torch.testing.assert_close(both, torch.cat([first, second]))


def augmentation():
    return Compose([RandFlipd(KEYS, prob=0.5, spatial_axis=0), RandGaussianNoised("image", prob=1.0)])


def test_a_draw_is_the_same_whatever_came_before(items, store):
    def fresh():
        return PatchDataset(items, store, [5, 4, 4], [1, 1, 1], augmentation=augmentation(), progress=False)

    dataset, draw = fresh(), SliceDraw(3, 1234, 2)
    first = dataset[draw]
    dataset[SliceDraw(5, 99)]
    for again in (dataset[draw], fresh()[draw]):
        assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], dataset[SliceDraw(3, 1235, 2)]["image"])
    assert type(first["image"]) is torch.Tensor and first["label"].dtype == torch.float32
    assert torch.equal(dataset[3]["image"], dataset[3]["image"])  # plain indices are not augmented


def test_workers_do_not_matter(items, store):
    dataset = PatchDataset(items, store, [5, 4, 4], [1, 1, 1], augmentation=augmentation(), progress=False)
    sampler = ClassAwareSliceSampler(dataset, 6, seed=5)
    batches = [list(DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=n)) for n in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        assert torch.equal(alone["image"], shared["image"]) and torch.equal(alone["label"], shared["label"])
        assert alone["name"] == shared["name"] and alone["image"].shape == (3, 1, 5, 4, 4)
    assert multiprocessing.reduction.ForkingPickler.dumps(dataset)


def test_faults(items, store):
    def dataset(data=items, patch=(4, 4, 4), spacing=None, **options):
        return PatchDataset(data, store, patch, spacing, progress=False, **options)

    with pytest.raises(ValueError, match="'data' is empty"):
        dataset([])
    with pytest.raises(ValueError, match="Case 'case0': training needs a label"):
        dataset([{"image": items[0]["image"]}])
    with pytest.raises(ValueError, match=r"at least 1 each, got \(4, 4\)"):
        dataset(patch=(4, 4))
    with pytest.raises(ValueError, match="Case 'case0': .*spacings must be positive"):
        dataset(spacing=(1, 0, 1))
    for chosen in (
        {"few_slices": FewSlices(spec="slices:3", seed=0, count=3)},
        {"data": [{**items[0], "slices": [1]}]},
    ):
        with pytest.raises(ValueError, match="slices that weren't chosen"):
            dataset(**chosen)
    with pytest.raises(ValueError, match="slice 3 holds no voxel of class 9"):
        dataset()[SliceDraw(3, 0, 9)]
