"""Slices and draws: right voxels, right classes, the same in every process and after every resume."""

import multiprocessing

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from scipy.ndimage import zoom
from small_volumes import KEYS, bundle_preprocessing, write_case
from torch.utils.data import DataLoader

from pgsam_monai.data.datasets import CaseDataset, SliceDataset
from pgsam_monai.data.samplers import ClassAwareSliceSampler, SliceDraw
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.data.store import CaseStore, StoredCase
from pgsam_monai.transforms import RandAffineSliced, RandIntensitySliced
from pgsam_monai.transforms.fit import fit_image, fit_label
from pgsam_monai.voxels.frame import slice_frame


def augmentation():
    monai_ones = [RandFlipd(KEYS, prob=0.5, spatial_axis=0), RandGaussianNoised("image", prob=1.0)]
    return Compose([RandAffineSliced(KEYS), RandIntensitySliced("image"), *monai_ones])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slices")


@pytest.fixture(scope="module")
def store(folder):
    return CaseStore(folder / "store", bundle_preprocessing(), workers=1)


@pytest.fixture(scope="module")
def items(folder):
    return [write_case(folder, f"case{n}", seed=n, shape=(9, 7, 4 + n)) for n in range(2)]


@pytest.fixture
def dataset(items, store):
    return SliceDataset(items, store, 16, augmentation=augmentation(), progress=False)


def test_plain_slices(dataset, items, store):
    assert len(dataset) == 4 + 5 and dataset.classes == [1, 2, 3]
    volume = CaseDataset(items, store, progress=False)[1]
    item = dataset[4 + 2]
    frame = slice_frame(7, 9, 16)
    assert (item["name"], item["slice"]) == ("case1", 2)
    assert item["image"].dtype == torch.float32 and item["label"].dtype == torch.float32
    assert torch.equal(item["image"], fit_image(volume["image"].as_tensor()[None, ..., 2], frame)[0])
    assert torch.equal(item["label"], fit_label(volume["label"].as_tensor()[None, ..., 2], frame)[0])


def test_items_hold_what_else_is_told_of_their_case_and_slice(items, store):
    def told(case, index=-1):
        return {"told": torch.tensor([int(case[-1]), index])}

    slices = SliceDataset(items, store, 16, progress=False, extras=told)
    assert slices[4 + 2]["told"].tolist() == [1, 2]
    assert slices[SliceDraw(1, seed=3)]["told"].tolist() == [0, 1]
    assert CaseDataset(items, store, progress=False, extras=told)[1]["told"].tolist() == [1, -1]


def test_slices_as_the_papers_see_them(items, store):
    """Image along SciPy's cubic spline, label by its nearest neighbour, on one grid."""
    dataset = SliceDataset(items, store, 16, "stretch", progress=False, sampling="cubic")
    image, label = dataset.cases[1].read_slice(2)
    size = [16 / count for count in image.shape[1:]]
    expected = zoom(image[0].float().numpy(), size, order=3)
    assert np.allclose(dataset[4 + 2]["image"][0].numpy(), expected, atol=1e-6)
    assert np.array_equal(dataset[4 + 2]["label"][0].numpy(), zoom(label[0].numpy(), size, order=0))


def test_slices_holding_a_class(dataset):
    for label in dataset.classes:
        held = [n for n in range(len(dataset)) if label in dataset.cases[dataset.places[n][0]].read_slice(
            dataset.places[n][1])[1]]  # fmt: skip
        assert dataset.slices_holding(label).tolist() == held


def test_restricted_to_slices(items, store):
    dataset = SliceDataset([{**items[0], "slices": [1, 3]}], store, 16, progress=False)
    assert [dataset[n]["slice"] for n in range(len(dataset))] == [1, 3]
    with pytest.raises(ValueError, match="indices from 0 to 3, got"):
        SliceDataset([{**items[0], "slices": [4]}], store, 16, progress=False)


def test_few_slices_of_all_cases(items, store):
    few = FewSlices(spec="slices:3", seed=0, count=3)
    dataset = SliceDataset(items, store, 16, few_slices=few, progress=False)
    everything = SliceDataset(items, store, 16, progress=False)
    assert dataset.places.tolist() == everything.places[few.draw(9)].tolist()
    held = {label for n in range(3) for label in dataset[n]["label"].unique().long().tolist()} - {0}
    assert set(dataset.classes) == held and len(dataset) == 3
    assert all(dataset.slices_holding(label).max() < 3 for label in dataset.classes)


@pytest.mark.parametrize(
    ("drawn", "slices"), [(0, [0, 1, 2]), (1, [0, 1, 2]), (2, [1, 2, 3]), (3, [2, 3, 4]), (4, [2, 3, 4])]
)
def test_stacks_lie_around_the_slice_and_inside_the_volume(items, store, drawn, slices):
    plain = SliceDataset(items, store, 16, progress=False)
    stacked = SliceDataset(items, store, 16, stack_depth=3, progress=False)
    item, parts = stacked[4 + drawn], [plain[4 + index] for index in slices]
    assert (item["name"], item["slice"]) == ("case1", drawn) and len(stacked) == len(plain)
    assert item["image"].shape == (1, 16, 16, 3) and item["label"].shape == (1, 16, 16, 3)
    for key in KEYS:
        assert torch.equal(item[key], torch.stack([part[key] for part in parts], dim=-1))
        assert item[key].dtype == torch.float32


@pytest.mark.parametrize(
    ("depth", "slices"), [(4, [0, 1, 2, 3]), (5, [0, 0, 1, 2, 3]), (8, [0, 0, 0, 1, 2, 3, 3, 3])]
)
def test_thin_volumes_repeat_their_edges_in_image_and_label(items, store, depth, slices):
    plain = SliceDataset(items[:1], store, 16, progress=False)
    stacked = SliceDataset(items[:1], store, 16, stack_depth=depth, progress=False)
    for drawn in range(4):
        for key in KEYS:
            expected = torch.stack([plain[index][key] for index in slices], dim=-1)
            assert torch.equal(stacked[drawn][key], expected)


def test_stacks_of_several_channels_keep_them_apart(folder, store):
    names = [write_case(folder, f"channel{n}", seed=5 + n, shape=(9, 7, 4)) for n in range(2)]
    case = {"image": [item["image"] for item in names], "label": names[0]["label"]}
    plain = SliceDataset([case], store, 16, progress=False)
    item = SliceDataset(
        [case], store, 16, stack_depth=2, augmentation=RandAffineSliced(KEYS), progress=False
    )[2]
    assert item["image"].shape == (2, 16, 16, 2)
    assert torch.equal(item["image"], torch.stack([plain[1]["image"], plain[2]["image"]], dim=-1))


def test_all_slices_of_a_stack_move_and_change_alike(items, store):
    draw, options = SliceDraw(2, 77), {"augmentation": RandAffineSliced(KEYS), "progress": False}
    plain = SliceDataset(items[:1], store, 16, **options)
    item = SliceDataset(items[:1], store, 16, stack_depth=3, **options)[draw]
    for position, index in enumerate((1, 2, 3)):
        alone = plain[SliceDraw(index, 77)]
        assert torch.equal(item["label"][..., position], alone["label"])
        torch.testing.assert_close(item["image"][..., position], alone["image"])
    change = RandIntensitySliced("image", prob=1.0, noise=0.0)
    same = SliceDataset(items[:1], store, 16, stack_depth=8, augmentation=change, progress=False)[draw][
        "image"
    ]
    assert torch.equal(same[..., 0], same[..., 2]) and not torch.equal(same[..., 2], plain[0]["image"])


def test_a_stack_reads_its_own_slices_alone(items, store, monkeypatch):
    read, real = [], StoredCase.read_slice
    monkeypatch.setattr(StoredCase, "read_slice", lambda case, index: read.append(index) or real(case, index))
    SliceDataset(items, store, 16, stack_depth=3, progress=False)[4 + 4]
    SliceDataset(items[:1], store, 16, stack_depth=6, progress=False)[0]
    assert read == [2, 3, 4, 0, 1, 2, 3]


def test_stacks_refuse_slices_that_are_chosen_one_by_one(items, store):
    few = FewSlices(spec="slices:3", seed=0, count=3)
    with pytest.raises(ValueError, match="neighbours that weren't chosen"):
        SliceDataset(items, store, 16, few_slices=few, stack_depth=2, progress=False)
    with pytest.raises(ValueError, match="stacks of 2 slices"):
        SliceDataset([{**items[0], "slices": [1]}], store, 16, stack_depth=2, progress=False)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SliceDataset(items, store, 16, stack_depth=0, progress=False)


def test_faults(items, store):
    with pytest.raises(ValueError, match="'data' is empty"):
        SliceDataset([], store, 16, progress=False)
    with pytest.raises(ValueError, match="Case 'case0': training needs a label"):
        SliceDataset([{"image": items[0]["image"]}], store, 16, progress=False)


def test_a_draw_is_the_same_whatever_came_before(dataset, items, store):
    draw = SliceDraw(3, 1234)
    first = dataset[draw]
    dataset[SliceDraw(5, 99)]
    again = SliceDataset(items, store, 16, augmentation=augmentation(), progress=False)[draw]
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], dataset[SliceDraw(3, 1235)]["image"])
    assert type(first["image"]) is torch.Tensor and first["label"].dtype == torch.float32


def test_workers_do_not_matter(dataset):
    sampler = ClassAwareSliceSampler(dataset, 6, seed=5)
    sampler.set_epoch(2)
    batches = [list(DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=n)) for n in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        assert torch.equal(alone["image"], shared["image"]) and torch.equal(alone["label"], shared["label"])
        assert alone["name"] == shared["name"]


def test_draws_depend_on_seed_epoch_and_position_alone(dataset):
    def epoch_of(number, seed=1):
        sampler = ClassAwareSliceSampler(dataset, 20, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch_of(3) == epoch_of(3)
    assert epoch_of(3) != epoch_of(4) and epoch_of(3) != epoch_of(3, seed=2)


def test_a_drawn_class_is_in_its_slice(dataset):
    draws = list(ClassAwareSliceSampler(dataset, 200, seed=4))
    assert {draw.label for draw in draws} == {0, *dataset.classes}
    assert all(draw.index in dataset.slices_holding(draw.label) for draw in draws if draw.label)


def test_ranks_share_the_draws(dataset):
    whole = list(ClassAwareSliceSampler(dataset, 10, seed=1))
    ranks = [list(ClassAwareSliceSampler(dataset, 9, seed=1, rank=r, world_size=2)) for r in range(2)]
    assert [len(rank) for rank in ranks] == [5, 5]
    assert (ranks[0], ranks[1]) == (whole[::2], whole[1::2])


def test_foreground_share_and_class_weights(folder, store):
    rare = write_case(folder, "rare", shape=(9, 7, 50), seed=3, values=[0])
    import nibabel as nib

    label = nib.load(rare["label"])
    array = np.asarray(label.dataobj).copy()
    array[2:4, 2:4, 10] = 5
    array[2:4, 2:4, 20] = 420
    nib.save(nib.Nifti1Image(array, label.affine), rare["label"])
    dataset = SliceDataset([rare], store, 16, progress=False)
    assert dataset.classes == [1, 3]

    def shares(**options):
        drawn = [draw.index for draw in ClassAwareSliceSampler(dataset, 600, seed=0, **options)]
        return [drawn.count(place) / 600 for place in (10, 20)]

    first, second = shares(foreground_share=0.8)
    assert abs(first - 0.408) < 0.06 and abs(second - 0.408) < 0.06  # 0.8 / 2 + 0.2 / 50 each
    assert shares(foreground_share=1.0, class_weights=[0, 1, 3]) == [0.0, 1.0]
    assert max(shares(foreground_share=0.0)) < 0.06


def test_no_labelled_voxel_and_single_slice(folder, store):
    empty = write_case(folder, "empty", shape=(9, 7, 1), values=[0])
    dataset = SliceDataset([empty], store, 16, progress=False)
    draws = list(ClassAwareSliceSampler(dataset, 5, foreground_share=1.0))
    assert {draw.index for draw in draws} == {0} and dataset[draws[0]]["label"].max() == 0


def test_monai_trainer_sets_the_epoch_and_resumes(dataset):
    from ignite.engine import Events
    from monai.engines import SupervisedTrainer

    def run(epochs, skip=0):
        """The names and slices each epoch saw; `skip` epochs count as done by an earlier run."""
        seen = []
        sampler = ClassAwareSliceSampler(dataset, 4, seed=3)
        network = torch.nn.Conv2d(1, 4, 1)
        trainer = SupervisedTrainer(
            device="cpu", max_epochs=epochs, network=network,
            train_data_loader=DataLoader(dataset, batch_size=2, sampler=sampler),
            optimizer=torch.optim.SGD(network.parameters(), 0.01),
            loss_function=lambda logits, label: torch.nn.functional.cross_entropy(logits, label[:, 0].long()),
            decollate=False,
        )  # fmt: skip
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.batch["image"])
        )
        trainer.state.epoch = skip
        trainer.run()
        return torch.stack(seen)

    whole = run(3)
    assert len(whole) == 6
    assert torch.equal(run(3, skip=2), whole[4:])


def test_dataset_travels_to_spawned_processes(dataset):
    assert multiprocessing.reduction.ForkingPickler.dumps(dataset)
