"""Metrics by hand-sized answers, in mm and by the Synapse papers' rules."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from monai.metrics import compute_surface_dice

from pgsam_monai.base.errors import UserFault
from pgsam_monai.metrics import (
    LabelDice,
    LabelDiceHandler,
    evaluate_case,
    evaluate_files,
    format_table,
    read_metrics,
    summarise,
    write_metrics,
)
from pgsam_monai.metrics.surfaces import measure_surfaces, surface_dice, voxel_hausdorff_95

SPACING = (0.8, 1.1, 4.0)
OBLIQUE = np.array([[-0.8, 0.05, 0.1, 30.0], [0.04, 1.1, -0.2, -7.0], [0.02, 0.06, 4.0, 11.0], [0, 0, 0, 1]])


def box(shape, *ranges) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def one_class(prediction, reference, protocol="mm", spacing=SPACING, **options):
    rows = evaluate_case(
        prediction.astype(int),
        reference.astype(int),
        labels={"x": 1},
        spacing=spacing,
        protocol=protocol,
        **options,
    )
    return rows.classes[0]


CUBE = box((20, 16, 10), (5, 12), (4, 10), (3, 7))
NOTHING = np.zeros_like(CUBE)


def test_equal_masks_are_perfect():
    row = one_class(CUBE, CUBE)
    assert (row.dice, row.hd95, row.nsd, row.outcome) == (1.0, 0.0, 1.0, "found")
    assert row.reference_ml == pytest.approx(7 * 6 * 4 * 0.8 * 1.1 * 4.0 / 1000)


@pytest.mark.parametrize("axis, shift_mm", [(0, 0.8), (1, 1.1), (2, 4.0)])
def test_a_shift_by_one_voxel_moves_the_surface_by_its_spacing(axis, shift_mm):
    row = one_class(np.roll(CUBE, 1, axis), CUBE)
    assert row.hd95 == pytest.approx(shift_mm)
    assert row.dice == pytest.approx(1 - 1 / CUBE.any(axis=tuple({0, 1, 2} - {axis})).sum())


def test_tolerance_decides_the_surface_dice():
    shifted = np.roll(CUBE, 1, 2)  # by 4 mm
    assert one_class(shifted, CUBE, tolerance_mm=4.0).nsd == 1.0
    below = one_class(shifted, CUBE, tolerance_mm=3.9).nsd
    assert 0.2 < below < 0.9  # the side walls still agree, top and bottom do not


@pytest.mark.filterwarnings("ignore:monai.metrics.utils")
@pytest.mark.parametrize("tolerance_mm", [0.0, 1.0, 2.5])
def test_surface_dice_equals_monai_with_subvoxels(tolerance_mm):
    random = np.random.default_rng(0)
    prediction, reference = random.random((2, 9, 8, 7)) > 0.6
    theirs = compute_surface_dice(
        torch.from_numpy(prediction)[None, None],
        torch.from_numpy(reference)[None, None],
        [tolerance_mm],
        include_background=True,
        spacing=SPACING,
        use_subvoxels=True,
    )
    ours = measure_surfaces(prediction, reference, SPACING).normalised_surface_dice(tolerance_mm)
    assert ours == pytest.approx(theirs.item(), abs=1e-5)


def test_surface_area_of_a_large_box_is_right():
    distances = measure_surfaces(CUBE, CUBE, SPACING)
    a, b, c = 7 * 0.8, 6 * 1.1, 4 * 4.0
    assert distances.reference_area.sum() == pytest.approx(
        2 * (a * b + b * c + a * c), rel=0.1
    )  # corners are cut


def test_single_slice_is_measured_by_its_contour():
    square = box((12, 12, 1), (3, 9), (3, 9), (0, 1))
    row = one_class(np.roll(square, 1, 0), square, spacing=(3.0, 3.0, 1.0))
    assert row.hd95 == pytest.approx(3.0)
    assert row.nsd < 0.8  # flat faces would have made it nearly 1


@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 8, 1)])
@pytest.mark.parametrize("tolerance_mm", [0.0, 1.0, 2.5])
def test_the_quick_surface_dice_is_the_same(shape, tolerance_mm):
    prediction, reference = np.zeros((2, *(side + 20 for side in shape[:2]), shape[2]), bool)
    random = np.random.default_rng(0).random((2, *shape)) > 0.6
    prediction[3:12, 5:13], reference[5:14, 4:12] = random
    spacing = (1.0, 0.8, 2.5)
    slow = one_class(prediction, reference, spacing=spacing, tolerance_mm=tolerance_mm).nsd
    assert surface_dice(prediction, reference, spacing, tolerance_mm) == pytest.approx(slow, abs=1e-12)
    empty = np.zeros_like(reference)
    assert surface_dice(empty, reference, spacing, tolerance_mm) == 0.0
    assert math.isnan(surface_dice(empty, empty, spacing, tolerance_mm))


def test_empty_masks_in_mm():
    absent = one_class(NOTHING, NOTHING)
    assert absent.outcome == "absent" and all(map(math.isnan, (absent.dice, absent.hd95, absent.nsd)))
    missed, spurious = one_class(NOTHING, CUBE), one_class(CUBE, NOTHING)
    for row, outcome in ((missed, "missed"), (spurious, "spurious")):
        assert (row.dice, row.nsd, row.outcome) == (0.0, 0.0, outcome) and math.isnan(row.hd95)


def test_empty_masks_by_the_synapse_papers():
    def scores(prediction, reference):
        row = one_class(prediction, reference, protocol="papers")
        return row.dice, row.hd95

    assert scores(CUBE, NOTHING) == (1.0, 0.0)
    assert scores(NOTHING, CUBE) == (0.0, 0.0)
    assert scores(NOTHING, NOTHING) == (0.0, 0.0)


def test_synapse_distances_ignore_the_spacing():
    row = one_class(np.roll(CUBE, 2, 2), CUBE, protocol="papers")
    assert row.hd95 == 2.0 and math.isnan(row.nsd)


def test_synapse_hd95_pools_both_directions():
    """One stray voxel beside a 40-voxel line: distances 40 x 0 and 1 x 10, and 40 x 0 back."""
    reference = box((60, 3, 3), (0, 40), (1, 2), (1, 2))
    prediction = reference.copy()
    prediction[49, 1, 1] = True
    assert voxel_hausdorff_95(prediction, reference) == 0.0
    short = box((60, 3, 3), (0, 4), (1, 2), (1, 2))
    stray = short.copy()
    stray[13, 1, 1] = True  # distances 0 x 4, 10, 0 x 4: the 95th percentile of nine lies at rank 7.6
    assert voxel_hausdorff_95(stray, short) == pytest.approx(6.0)


def test_labels_keep_their_values_and_others_are_background():
    reference = np.zeros((6, 6, 6), int)
    reference[:2], reference[3:5] = 205, 9  # 9 is not asked for
    prediction = np.where(reference == 9, 420, reference)
    rows = evaluate_case(prediction, reference, labels={"a": 205, "b": 420}, spacing=(1, 1, 1)).classes
    assert [(r.label, r.value, r.outcome) for r in rows] == [("a", 205, "found"), ("b", 420, "spurious")]


def test_values_that_are_one_class_and_a_background_that_is_not_0():
    """A disc of 4 x 4 (128) around a cup of 2 x 2 (0), predicted with a cup of 2 x 1; background is 255."""
    reference = np.full((8, 8, 1), 255)
    reference[2:6, 2:6], reference[3:5, 3:5] = 128, 0
    prediction = reference.copy()
    prediction[3:5, 4] = 128
    labels = {"cup": 0, "rim": 128, "disc": [128, 0]}
    rows = evaluate_case(prediction, reference, labels=labels, spacing=(1, 1, 1)).classes
    assert [(row.label, row.value) for row in rows] == [("cup", 0), ("rim", 128), ("disc", 128)]
    assert [row.dice for row in rows] == pytest.approx([2 * 2 / 6, 2 * 12 / 26, 1.0])
    merged = evaluate_case(
        np.array([[[12, 12]]]), np.array([[[13, 12]]]), labels={"x": [12, 13]}, spacing=(1, 1, 1)
    )
    assert merged.classes[0].dice == 1.0 and merged.classes[0].value == 12


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(protocol="cm"), "one of mm, papers, synapse"),
        (dict(spacing=(1, 1)), "per axis"),
        (dict(tolerance_mm=-1.0), "0 or more"),
    ],
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        one_class(CUBE, CUBE, **options)


def save(file, array, affine=OBLIQUE):
    nib.save(nib.Nifti1Image(array.astype(np.int16), affine), file)
    return file


def test_files_in_unlike_formats(tmp_path):
    import SimpleITK as sitk

    label = CUBE.astype(np.int16) * 7
    rotation, spacing = np.linalg.qr(OBLIQUE[:3, :3])[0], np.array(SPACING)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * spacing, (5, 6, 7)
    image = sitk.GetImageFromArray(label.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetDirection((np.diag([-1, -1, 1]) @ rotation).ravel())
    image.SetOrigin((-5.0, -6.0, 7.0))
    sitk.WriteImage(image, tmp_path / "reference.nrrd")
    prediction = save(tmp_path / "case_1.nii.gz", label, affine)
    (row,) = evaluate_files([(prediction, tmp_path / "reference.nrrd")], labels={"x": 7})
    assert row.name == "case_1" and row.classes[0].dice == 1.0 and row.classes[0].hd95 == 0.0


def test_pictures(tmp_path):
    from PIL import Image

    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 8:20] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    Image.fromarray(np.roll(mask, 2, 1)).save(tmp_path / "b.png")
    (row,) = evaluate_files([(tmp_path / "b.png", tmp_path / "a.png")], labels={"lesion": 255})
    assert row.classes[0].hd95 == pytest.approx(2.0)  # pixels


def test_pairs_that_cannot_be_compared(tmp_path):
    reference = save(tmp_path / "reference.nii.gz", CUBE)
    smaller = save(tmp_path / "smaller.nii.gz", CUBE[:-1])
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.5
    aside = save(tmp_path / "aside.nii.gz", CUBE, moved)
    with pytest.raises(UserFault, match=r"Case 'smaller': prediction shape \(19, 16, 10\)"):
        evaluate_files([(smaller, reference)], labels={"x": 1})
    with pytest.raises(UserFault, match="lie up to 0.50 mm apart"):
        evaluate_files([(aside, reference)], labels={"x": 1})
    moved[0, 3] -= 0.49
    almost = save(tmp_path / "almost.nii.gz", CUBE, moved)
    assert evaluate_files([(almost, reference)], labels={"x": 1})[0].classes[0].dice == 1.0
    with pytest.raises(ValueError, match="without the background's"):
        evaluate_files([(almost, reference)], labels={"background": 0})


@pytest.fixture
def three_cases():
    """Class a: perfect, perfect, missed. Class b: only in the first case, half found."""
    full, half = box((8, 8, 4), (2, 6), (2, 6), (0, 2)), box((8, 8, 4), (2, 4), (2, 6), (0, 2))
    first = full.astype(int)
    first[:, :, 2:] = full[:, :, :2] * 2
    prediction = full.astype(int)
    prediction[:, :, 2:] = half[:, :, :2] * 2
    plain = full.astype(int)
    pairs = [(prediction, first), (plain, plain), (np.zeros_like(plain), plain)]
    return [
        evaluate_case(p, r, labels={"a": 1, "b": 2}, spacing=(1, 1, 1), name=f"case_{n}")
        for n, (p, r) in enumerate(pairs)
    ]


def test_summary_by_hand(three_cases):
    summary = summarise(three_cases)
    a, b, mean = (summary.score(label, "dice") for label in ("a", "b", "mean"))
    assert (a.mean, a.n, b.mean, b.n) == (pytest.approx(2 / 3), 3, pytest.approx(2 / 3), 1)
    assert a.std == pytest.approx(np.std([1, 1, 0], ddof=1)) and (a.low, a.high) == (0.0, 1.0)
    assert math.isnan(b.std) and math.isnan(b.low)  # one case says nothing of the spread
    assert mean.mean == pytest.approx(2 / 3) and mean.n == 3
    assert summary.score("a", "hd95").n == 2  # the missed one has no distance
    assert summary.outcomes == {"a": {"found": 2, "missed": 1}, "b": {"found": 1, "absent": 2}}


def test_interval_narrows_and_is_seeded():
    random = np.random.default_rng(1)

    def rows(n):
        cases = []
        for _ in range(n):
            prediction = CUBE & (random.random(CUBE.shape) > random.uniform(0, 0.5))
            cases.append(evaluate_case(prediction * 1, CUBE * 1, labels={"x": 1}, spacing=SPACING))
        return cases

    few, many = summarise(rows(5)).score("mean", "dice"), summarise(rows(60)).score("mean", "dice")
    assert few.low < few.mean < few.high and many.high - many.low < few.high - few.low
    eight = rows(8)
    assert summarise(eight, seed=4) == summarise(eight, seed=4)


def test_summaries_of_nothing_or_of_mixed_rows_are_refused(three_cases):
    with pytest.raises(ValueError, match="no cases"):
        summarise([])
    other = evaluate_case(CUBE * 1, CUBE * 1, labels={"a": 1, "b": 2}, spacing=SPACING, protocol="synapse")
    with pytest.raises(ValueError, match="differ in protocol"):
        summarise([*three_cases, other])


def test_written_metrics(three_cases, tmp_path):
    csv_file, json_file = write_metrics(three_cases, summarise(three_cases), tmp_path / "eval")
    rows = list(csv.DictReader(csv_file.open()))
    assert len(rows) == 6 and rows[0]["case"] == "case_0" and rows[1]["label"] == "b"
    assert rows[3]["dice"] == "" and rows[4]["outcome"] == "missed"
    content = json.loads(json_file.read_text())
    assert content["hd95_unit"] == "mm" and content["cases"][1]["classes"][1]["dice"] is None
    assert sorted(p.name for p in (tmp_path / "eval").iterdir()) == ["metrics.csv", "metrics.json"]


def test_written_metrics_come_back_with_what_is_told_of_each_case(three_cases, tmp_path):
    table, file = write_metrics(three_cases, summarise(three_cases), tmp_path, about={"fold": [2, 0, 1]})
    assert str(read_metrics(file)) == str(three_cases)  # NaN is no NaN's equal
    assert [case["fold"] for case in json.loads(file.read_text())["cases"]] == [2, 0, 1]
    assert table.read_text().splitlines()[0].startswith("case,fold,label,")


def test_intervals_draw_all_cases_of_a_subject_together():
    def case(voxels):
        prediction = CUBE.copy()
        prediction[:voxels] = 0
        return evaluate_case(prediction * 1, CUBE * 1, labels={"x": 1}, spacing=SPACING)

    rows = [case(0)] * 4 + [case(8)] * 4
    by_case = summarise(rows).score("x", "dice")
    by_subject = summarise(rows, subjects=list("aaaabbbb")).score("x", "dice")
    assert by_subject.mean == by_case.mean
    assert by_subject.high - by_subject.low > by_case.high - by_case.low
    assert by_subject.high == 1.0 and math.isnan(summarise(rows, subjects=["a"] * 8).score("x", "dice").low)


def test_table_names_what_was_missed(three_cases):
    lines = format_table(summarise(three_cases)).splitlines()
    assert lines[1].split()[:2] == ["class", "Dice"] and "NSD 2 mm" in lines[1]
    assert lines[3].split() == ["a", "0.667", "0.000", "to", "1.000", "0.0", "0.667", "3", "1", "0"]
    assert lines[-1].startswith("mean") and "nan" not in format_table(summarise(three_cases))


def maps(*cases) -> torch.Tensor:
    return torch.tensor(cases)[:, None]


def test_label_dice_by_hand():
    metric = LabelDice(num_classes=3)
    prediction, label = maps([1, 1, 0, 2], [0, 0, 0, 0]), maps([1, 0, 0, 2], [0, 0, 2, 0])
    values = metric(prediction, label)
    assert values[0, 0].item() == pytest.approx(2 / 3) and values[0, 1].item() == 1.0
    assert values[1, 1].item() == 0.0  # missed
    assert torch.isnan(values[:, 2]).all() and torch.isnan(values[1, 0])  # in neither map
    assert metric.per_class()[:2].tolist() == pytest.approx([2 / 3, 0.5])
    assert metric.aggregate().item() == pytest.approx((2 / 3 + 0.5) / 2)


def test_label_dice_agrees_with_the_summary(three_cases):
    metric = LabelDice(num_classes=1)
    random = torch.Generator().manual_seed(0)
    pairs = [(torch.rand(1, 6, 6, 6, generator=random) > 0.5, CUBE[:6, :6, :6]) for _ in range(3)]
    rows = []
    for prediction, reference in pairs:
        metric([prediction.int()], [torch.from_numpy(reference.astype(int))[None]])
        rows.append(
            evaluate_case(prediction[0].int().numpy(), reference * 1, labels={"x": 1}, spacing=SPACING)
        )
    assert metric.aggregate().item() == pytest.approx(summarise(rows).score("mean", "dice").mean)


def test_label_dice_refuses_what_it_cannot_count():
    metric = LabelDice(num_classes=2)
    with pytest.raises(ValueError, match="must hold 0 to 2, got 0 to 3"):
        metric(maps([0, 3]), maps([0, 1]))
    with pytest.raises(ValueError, match="arg-max"):
        metric(torch.zeros(1, 3, 4), torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="1 or more"):
        LabelDice(num_classes=0)


def test_label_dice_in_a_monai_engine():
    batches = [
        {"image": maps([1, 1, 0, 2]), "label": maps([1, 0, 0, 2])},
        {"image": maps([0] * 4), "label": maps([1] * 4)},
    ]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches,
        network=torch.nn.Identity(),
        key_val_metric={
            "val_mean_dice": LabelDiceHandler(2, output_transform=from_engine(["pred", "label"]))
        },
    )
    evaluator.run()
    assert evaluator.state.metrics["val_mean_dice"] == pytest.approx((1 / 3 + 1) / 2)
    assert evaluator.state.metric_details["val_mean_dice"].shape == (2, 2)
