"""The input's size and fit against answers worked out by hand."""

import pytest
from plan_evidence import CPU, GPU, decide, evidence, label_summary, values

from preprocess.networks import NETWORK_RULES, own_fault
from preprocess.rules import slices

OF_SLICES = [network for network, rules in NETWORK_RULES.items() if "image_size" in rules]


def test_structure_spans_of_every_label():
    spans = slices.structure_spans(evidence(), slice_axis="axial", image_size=512)
    assert spans[1] == pytest.approx(80 / 384 * 128)
    assert spans[2] == pytest.approx(20 / 384 * 128)


def test_image_size_counts_pixels_of_the_low_resolution_mask():
    # field of view 512 * 0.75 = 384 mm; at 224 the mask has 56 pixels: 20 mm span 20 / 384 * 56 = 2.9
    decision = decide(evidence(machine=GPU))["image_size"]
    assert decision.value == 512
    assert "aorta, would span 2.9 pixels" in decision.reason and "6.7 at 512" in decision.reason
    large = evidence(
        machine=GPU, labels={1: label_summary(in_plane_mm=80.0), 2: label_summary(in_plane_mm=40.0)}
    )
    assert values(large)["image_size"] == 224


def test_cpu_stays_at_224_and_says_what_it_gives_up():
    decision = decide(evidence())["image_size"]
    assert decision.value == 224
    assert "on a CPU" in decision.reason and "2.9" in decision.reason


@pytest.mark.parametrize(
    ("grid", "span", "size"),
    [
        (50, 12.3, 128),  # 2.5 * 50 = 125; the structure would do with 4 / 12.3 * 224 = 73
        (50, 5.0, 192),  # 4 / 5 * 224 = 179 for the structure
        (20, 12.3, 96),  # 73 for the structure, 50 for the slice
        (20, 1.0, 96),  # 896 for the structure, but at 4 * 20 a pixel of the mask is one of the slice
        (20, 40.0, 64),  # the least: 50 for the slice, 22 for the structure
        (77, 40.0, 224),  # 2.5 * 77 = 192.5
        (256, 12.3, 640),
    ],
)
def test_size_that_slices_fill(grid, span, size):
    assert slices.filling_size(grid, span, grid) == size


def test_no_slice_is_shrunk_below_224():
    assert slices.filling_size(20, 40.0, 90) == 96
    assert (
        decide(small_slices(shapes=((36, 50, 35), (36, 50, 35), (200, 200, 200))))["image_size"].value == 224
    )


@pytest.mark.parametrize("size", range(slices.LEAST_SIZE, slices.SMALL_SIZE + 1, slices.SIZE_STEP))
@pytest.mark.parametrize("machine", [CPU, GPU])
def test_every_network_takes_every_size_that_may_be_planned(machine, size):
    for network in OF_SLICES:
        assert own_fault(network, values(evidence(machine=machine), network, image_size=size)) is None, (
            network
        )


def small_slices(**changes):
    """Sagittal slices of 35 x 50 pixels of 1 mm, whose smallest structure spans 11 mm: 12.3 pixels of 56."""
    labels = {1: label_summary(in_plane_mm=15.0), 2: label_summary(in_plane_mm=11.0)}
    facts = {
        "shapes": ((36, 50, 35),) * 10, "spacings": ((1.0, 1.0, 1.0),) * 10, "labels": labels, "modality": "MR",
    }  # fmt: skip
    return evidence(**facts | changes)


@pytest.mark.parametrize("network", OF_SLICES)
def test_slices_of_few_pixels_are_not_enlarged_for_nothing(network):
    decision = decide(small_slices(), network, slice_axis="sagittal")["image_size"]
    assert decision.value == 128
    assert "A median slice has 35 x 50 pixels only: enlarged 2.6 times, to 128" in decision.reason
    assert "smallest structure, aorta, spans 7.0 pixels" in decision.reason
    assert decision.reason.endswith("224 would have 3.1 times as many pixels.")


def test_what_small_slices_cannot_show_is_told():
    labels = {1: label_summary(in_plane_mm=2.0)}
    decision = decide(small_slices(labels=labels, shapes=((36, 40, 35),) * 10), slice_axis="sagittal")[
        "image_size"
    ]
    assert decision.value == 160 and "spans 2.0 pixels" in decision.reason
    assert "less than wanted, but a pixel of it is no larger than one of the slice" in decision.reason


def test_a_gpu_has_no_less_than_224_for_pretrained_encoders():
    for structures in ({1: label_summary(in_plane_mm=11.0)}, {1: label_summary(in_plane_mm=1.0)}):
        facts = small_slices(machine=GPU, labels=structures, shapes=((36, 40, 35),) * 10)
        decision = decide(facts, slice_axis="sagittal")["image_size"]
        assert decision.value == 224  # 512 would show a structure of 1 pixel no better
        assert "35 x 40 pixels only" in decision.reason and "pretrained" in decision.reason


def test_slices_are_stretched_where_that_leaves_shapes_truer():
    assert slices.choose_fit(evidence(), {"slice_axis": "axial"}).value == "pad"
    decision = slices.choose_fit(
        evidence(), {"slice_axis": "coronal"}
    )  # rows 100 x 3 mm, columns 512 x 0.75 mm
    assert decision.value == "stretch"
    assert "heights 0.78 times" in decision.reason and "(4 times)" in decision.reason
    cubes = evidence(spacings=((1.0, 1.0, 1.0),) * 10)
    assert slices.choose_fit(cubes, {"slice_axis": "coronal"}).value == "pad"
