from dataclasses import replace

import pytest

from pgsam_monai.base.training_facts import ChannelRanges, Range, StructureRanges, TrainingFacts
from pgsam_monai.predicting.measured import MeasuredImage, MeasuredStructure
from pgsam_monai.predicting.outside import compared_with, image_warnings, structure_warnings


def span(low, high):
    return Range(cases=20, min=low, max=high, quantiles=())


LIVER = StructureRanges(
    values=(6,), cases=20, of=20, millilitres=span(900.0, 2600.0), position=(span(0.6, 0.7),) * 3,
    mean=(span(90.0, 130.0),),
)  # fmt: skip
FACTS = TrainingFacts(
    cases=20,
    is_oriented=True,
    shape=(span(256, 512),) * 3,
    spacing=(span(0.7, 1.0),) * 3,
    channels=(
        ChannelRanges(
            mean=span(-500.0, -400.0),
            percentile_00_5=span(-1024.0, -1000.0),
            percentile_99_5=span(300.0, 900.0),
        ),
    ),
    structures={"liver": LIVER},
)
IMAGE = MeasuredImage(
    orientation="RAS",
    shape=(300, 300, 300),
    spacing=(0.8,) * 3,
    means=(-450.0,),
    percentiles=((-1020.0, 400.0),),
)
FOUND = MeasuredStructure(
    name="liver", value=6, voxels=9, pieces=1, millilitres=1500.0, position=(0.65,) * 3, means=(100.0,),
    scaled_means=(0.5,),
)  # fmt: skip


def told(structure, facts=FACTS, classes=None):
    return structure_warnings([structure], {"liver": (6,)} if classes is None else classes, facts)["liver"]


def test_what_training_saw_is_not_warned_of():
    assert image_warnings(IMAGE, FACTS) == [] and told(FOUND) == []


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"millilitres": 4900.0}, "liver: 4900 ml; training cases held 900 to 2600"),
        (
            {"position": (0.12, 0.65, 0.65)},
            "liver: its middle lies at 12 % of the image from left to right (training: 60 to 70)",
        ),
        ({"means": (300.0,)}, "liver: mean intensity 300; training cases held 90 to 130"),
        ({"voxels": 0}, "liver: not found; all 20 training cases hold it"),
    ],
)
def test_a_structure_outside(change, sentence):
    assert told(replace(FOUND, **change)) == [sentence]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            {"spacing": (0.8, 0.8, 5.0)},
            "voxels of 5 mm from inferior to superior; training cases held 0.7 to 1",
        ),
        ({"shape": (300, 64, 300)}, "64 voxels from posterior to anterior; training cases held 256 to 512"),
        ({"means": (40.0,)}, "mean intensity 40; training cases held -500 to -400"),
        (
            {"percentiles": ((0.0, 400.0),)},
            "0.5 % of the voxels lie below 0; training cases held -1024 to -1000",
        ),
    ],
)
def test_an_image_outside(change, sentence):
    assert image_warnings(replace(IMAGE, **change), FACTS) == [sentence]


def test_what_cant_be_told_is_not():
    assert told(replace(FOUND, millilitres=None, position=None, means=None)) == []
    assert (
        told(replace(FOUND, voxels=0), replace(FACTS, structures={"liver": replace(LIVER, cases=19)})) == []
    )
    assert (
        told(replace(FOUND, millilitres=9e9), classes={"liver": (6, 7)}) == []
    )  # another class of that name
    assert told(replace(FOUND, millilitres=9e9), replace(FACTS, structures={})) == []
    flat = replace(
        IMAGE, orientation="", shape=(9, 9, 1), means=(1.0, 2.0, 3.0), percentiles=((0.0, 1.0),) * 3
    )
    assert image_warnings(flat, FACTS) == []


def test_by_percentiles_where_networks_see_images_so():
    channel = ChannelRanges(mean=span(0.2, 0.3), percentile_00_5=None, percentile_99_5=None)
    facts = replace(
        FACTS, intensity="by percentiles", channels=(channel,),
        structures={"liver": replace(LIVER, mean=(span(0.4, 0.6),))},
    )  # fmt: skip
    near = replace(
        IMAGE, means=(25_000.0,), percentiles=((0.0, 100_000.0),)
    )  # another scanner's unit is no news
    assert image_warnings(near, facts) == [] and told(replace(FOUND, means=(50_000.0,)), facts) == []
    assert image_warnings(replace(near, means=(70_000.0,)), facts) == [
        "mean intensity 0.7 (0.5 and 99.5 percentiles being 0 and 1); training cases held 0.2 to 0.3"
    ]


def test_what_warnings_rest_on():
    assert "planned without data" in compared_with(None)
    assert "3 training cases are too few" in compared_with(TrainingFacts(cases=3))
    assert "range of the 20 training cases by more than 45 % of it" in compared_with(FACTS)
