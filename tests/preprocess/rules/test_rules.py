"""Every rule against answers worked out by hand."""

import math

import pytest
from plan_evidence import CPU, GPU, decide, evidence, intensity, label_summary, values

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Dataset
from preprocess.networks import NETWORK_RULES
from preprocess.rules import geometry, labels, training
from preprocess.rules import intensity as intensities
from preprocess.rules.evidence import channel_names
from preprocess.rules.memory import image_gb, largest_batch

ALONE = {"subjects": "none"}


@pytest.mark.parametrize("chosen", NETWORK_RULES)
def test_every_decision_has_a_sentence_as_reason(chosen):
    for facts in (evidence(), evidence(machine=GPU)):
        for name, decision in decide(facts, chosen).items():
            assert decision.reason[0].isupper() or decision.reason[0].isdigit(), name
            assert decision.reason.endswith("."), name
            assert decision.source == "rule"


def test_labels_are_sorted_as_numbers_and_gaps_are_told():
    facts = evidence(labels={v: label_summary() for v in (5, 205, 420, 10)}, label_names=None)
    decision = labels.choose_labels(facts, {})
    assert decision.value == [0, 5, 10, 205, 420]
    assert "mapped to 0..K" in decision.reason
    assert labels.choose_label_names(facts, {"labels": [0, 5]}).value == ["background", "label_5"]


def test_named_labels_win_over_found_ones():
    facts = evidence(
        labels={v: label_summary() for v in (1, 9)}, label_names={0: "background", 1: "liver", 3: "cyst"}
    )
    decision = labels.choose_labels(facts, {})
    assert decision.value == [0, 1]
    assert "no case holds it to learn from: cyst" in decision.reason
    assert "Values 9 have no name" in decision.reason


def test_class_frequencies_sum_to_one_and_weights_follow_their_roots():
    decided = values(evidence())
    assert decided["class_frequencies"] == [0.9875, 0.01, 0.0025]


def test_postprocessing_waits_for_what_networks_get_wrong():
    decision = decide(evidence())["postprocessing"]
    assert decision.value == {}
    assert (
        "pgsam train --folds all chooses" in decision.reason and "liver 10/10, aorta 9/10" in decision.reason
    )


def test_slice_axis_is_the_coarse_one():
    assert values(evidence())["slice_axis"] == "axial"
    coronal = evidence(spacings=((1.0, 4.0, 1.0),) * 10)
    assert values(coronal)["slice_axis"] == "coronal"
    assert values(coronal)["orientation"] == "ILP"


def test_slice_axis_of_isotropic_scans():
    same = evidence(spacings=((1.0, 1.0, 1.0),) * 10)
    assert values(same)["slice_axis"] == "axial"  # CT, by custom
    seen = {1: {"sagittal": 0.9, "coronal": 0.3, "axial": 0.5}}
    shares = {1: label_summary()}
    shares[1].slices.update(seen[1])
    decision = geometry.choose_slice_axis(evidence(spacings=same.spacings, modality="MR", labels=shares), {})
    assert decision.value == "sagittal"
    assert "sagittal 0.90" in decision.reason
    shares[1].slices.update(sagittal=0.52)
    assert (
        geometry.choose_slice_axis(evidence(spacings=same.spacings, modality="MR", labels=shares), {}).value
        == "axial"
    )


def test_spacing_is_in_oriented_order():
    facts = evidence(spacings=((0.5, 0.7, 3.0),) * 10, machine=GPU)
    assert values(facts)["spacing"] == [0.7, 0.5, 3.0]  # rows run A-P, columns R-L


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((2.0, 2.0, 3.0), (96, 128, 128), [2.0, 2.0, 3.0]),  # 6 patches of 64^3, just within reach
        ((2.0, 1.0, 4.0), (96, 256, 128), [2.0, 2.0, 4.0]),  # 12 patches: the finest axis alone, twice as coarse
        ((1.0, 1.0, 4.0), (192, 256, 128), [2.0, 2.0, 4.0]),  # 24 patches: both fine axes
        ((1.0, 1.0, 2.0), (384, 512, 256), [4.0, 4.0, 4.0]),  # 192 patches: all, to the cube root of 32 x 2
    ],
)  # fmt: skip
def test_a_cpu_gives_up_spacing_until_its_patch_shows_a_sixth(spacing, shape, expected):
    facts = {"spacings": (spacing,) * 10, "shapes": (shape,) * 10}
    decision = geometry.choose_spacing(evidence(**facts), {"slice_axis": "none", "target": "cpu"})
    assert decision.value == pytest.approx(expected, abs=1e-3)
    assert ("3d_lowres" in decision.reason) == (expected != list(spacing))
    on_gpu = geometry.choose_spacing(evidence(**facts), {"slice_axis": "none", "target": "gpu"})
    assert on_gpu.value == list(spacing)


def test_spacing_follows_nnunet_for_very_coarse_slices():
    spacings = tuple((0.5, 0.5, thickness) for thickness in (2, 3, 4, 5, 5, 5, 6, 6, 7, 8))
    decision = geometry.choose_spacing(evidence(spacings=spacings), {"slice_axis": "axial", "target": "gpu"})
    assert decision.value[:2] == [0.5, 0.5]
    assert decision.value[2] == pytest.approx(2.9)  # 10th percentile of the ten
    assert "nnU-Net" in decision.reason


def test_pictures_have_neither_orientation_nor_patch():
    facts = evidence(
        file_format="picture", modality="RGB", orientations={"": 10}, shapes=((300, 400, 1),) * 10,
        spacings=((1.0, 1.0, 1.0),) * 10, image_range=(0.0, 255.0), channels=("red", "green", "blue"),
    )  # fmt: skip
    decided = values(facts)
    assert (decided["slice_axis"], decided["orientation"], decided["dimension"]) == ("none", "", "2d")
    assert decided["patch_3d"] is None
    assert decided["intensity"] == {"scheme": "unit8"}
    assert decided["postprocessing"] == {}


def test_dimension_by_slices_and_gap():
    assert values(evidence(shapes=((512, 512, 9),) * 10))["dimension"] == "2d"
    assert values(evidence(spacings=((0.5, 0.5, 5.0),) * 10))["dimension"] == "2d"
    assert values(evidence(spacings=((1.0, 1.0, 2.0),) * 10))["dimension"] == "3d"


def test_patch_keeps_to_the_budget_and_to_multiples_of_16():
    patch = values(evidence(machine=GPU))["patch_3d"]
    assert math.prod(patch) <= 128**3
    assert all(side % 16 == 0 and side >= 16 for side in patch)
    assert patch[0] > patch[2]  # 0.75 mm pixels, 3 mm slices
    assert values(evidence(shapes=((20, 30, 40),) * 10))["patch_3d"] == [
        32,
        32,
        32,
    ]  # 64^3 voxels make a cube of 76 mm


def test_ct_window_is_rounded_outwards_and_never_narrow():
    decided = {"modality": "CT"}
    wide = intensities.choose_intensity(evidence(intensity=(intensity(low=-57.2, high=181.0),)), decided)
    assert wide.value == {"scheme": "window", "low": -60.0, "high": 185.0}
    narrow = intensities.choose_intensity(evidence(intensity=(intensity(low=40.0, high=60.0),)), decided)
    assert narrow.value["high"] - narrow.value["low"] == 100


def test_intensity_of_mr_and_of_scaled_archives():
    mr = intensities.choose_intensity(evidence(), {"modality": "MR"})
    assert mr.value == {"scheme": "percentile", "low": 0.5, "high": 99.5}
    archive = evidence(file_format="archive", image_range=(0.0, 1.0))
    assert intensities.choose_intensity(archive, {"modality": "CT"}).value == {"scheme": "none"}


def test_backbone_by_target_and_memory():
    def with_memory(gb):
        machine = GPU.__class__(target="gpu", memory_gb=gb, target_reason="x.", memory_reason="x.")
        return values(evidence(machine=machine))

    assert values(evidence())["backbone"] == "vit_tiny"
    assert with_memory(24)["backbone"] == "vit_b"
    assert with_memory(140)["backbone"] == "vit_l"
    assert with_memory(1)["backbone"] == "vit_tiny"


def test_cpu_network_learns_everything_from_random_weights():
    decided = values(evidence(), weights=None)
    assert decided["encoder_training"] == "full"
    assert (decided["learning_rate"], decided["weight_decay"]) == (0.003, 0.05)
    assert decided["batch_size"] == 12


def test_gpu_network_is_adapted_as_samed():
    decided = values(evidence(machine=GPU))
    assert decided["weights"] == "sam_vit_b"
    assert decided["encoder_training"] == "lora"
    assert (decided["weight_decay"], decided["warmup_iterations"]) == (0.1, 250)
    assert decided["epochs"] == 160
    assert 1 <= decided["batch_size"] <= 24
    assert decided["learning_rate"] == pytest.approx(0.005 * math.sqrt(decided["batch_size"] / 24), abs=1e-5)


def test_dependents_follow_an_overridden_backbone():
    decided = values(evidence(machine=GPU), backbone="vit_h")
    assert decided["weights"] == "sam_vit_h"
    assert decided["batch_size"] < values(evidence(machine=GPU))["batch_size"]


def test_memory_rule_grows_with_size_and_falls_with_precision():
    one = {"num_classes": 8, "mixed_precision": True}
    small, large = (image_gb("vit_b", image_size=size, **one) for size in (224, 512))
    assert 4 < large / small < 12
    assert image_gb("vit_b", image_size=512, num_classes=8, mixed_precision=False) > 1.7 * large
    fits = largest_batch("vit_b", image_size=512, memory_gb=24, encoder_training="lora", **one)
    assert 12 <= fits <= 30  # SAMed trained 12 per 24 GB GPU, in full precision
    assert largest_batch("vit_h", image_size=1024, memory_gb=4, encoder_training="full", **one) == 0


def test_folds_from_the_number_of_cases():
    def folds(count):
        return training.choose_folds(evidence(cases={str(n): (1,) for n in range(count)}), ALONE).value

    assert [folds(count) for count in (2, 3, 4, 5, 9, 200)] == [2, 3, 4, 5, 5, 5]
    with pytest.raises(UserFault, match="holds 1 labelled training case;.*Label another"):
        folds(1)


def test_folds_stated_by_the_data_set_are_kept():
    facts = evidence(stated_folds={f"case{n}": n % 3 for n in range(10)})
    assert training.choose_folds(facts, ALONE).value == 3


def test_an_epoch_is_one_pass_within_the_budget():
    decided = ALONE | {"slice_axis": "axial", "folds": 5, "target": "gpu", "batch_size": 10}
    assert training.choose_iterations_per_epoch(evidence(), decided).value == 80  # 10 * 100 slices * 4/5 / 10
    assert training.choose_iterations_per_epoch(evidence(), decided | {"batch_size": 1}).value == 250
    assert (
        training.choose_iterations_per_epoch(evidence(), decided | {"batch_size": 1, "target": "cpu"}).value
        == 100
    )
    assert training.choose_iterations_per_epoch(evidence(few_shot="1"), decided).value == 20
    assert training.training_slices(evidence(few_shot="2"), decided) == 200
    assert training.training_slices(evidence(few_shot="slices:10%"), decided) == 80


def test_warmup_is_cut_for_short_training():
    decided = {"weights": None, "epochs": 2, "iterations_per_epoch": 20}
    assert training.choose_warmup_iterations(evidence(), decided).value == 4


def test_target_and_memory_come_from_the_machine():
    decided = values(evidence(machine=CPU))
    assert (decided["target"], decided["memory_gb"]) == ("cpu", 16)


def test_channels_are_named_where_the_data_set_is_silent():
    def names(file_format, count, given=None):
        dataset = Dataset(
            name="x", folder="/x", layout="paired", file_format=file_format, cases=(), channel_names=given
        )
        return channel_names(dataset, count)

    assert names("volume", 1) == ("image",)
    assert names("volume", 2, ("T1", "T2")) == ("T1", "T2")
    assert names("volume", 3, ("T1", "T2")) == ("channel_0", "channel_1", "channel_2")
    assert names("picture", 3) == ("red", "green", "blue")
