"""Hand-made evidence for the planning tests."""

from preprocess.fingerprint.facts import Intensity, LabelSummary
from preprocess.networks import NETWORK_RULES
from preprocess.rules import SHARED_RULES, Evidence, Machine
from preprocess.splits.subjects import NONE, Subjects

CPU = Machine(target="cpu", memory_gb=16, target_reason="No GPU here.", memory_reason="RAM is 16 GB.")
GPU = Machine(target="gpu", memory_gb=24, target_reason="A GPU is here.", memory_reason="It has 24 GB.")


def label_summary(*, in_plane_mm=20.0, frequency=0.01, cases=10, share=0.5):
    """A structure of the given in-plane size for every slice axis."""
    axes = ("sagittal", "coronal", "axial", "none")
    return LabelSummary(
        cases=cases,
        voxels=1000,
        frequency=frequency,
        volume_ml=10.0,
        components=1.0,
        extent_mm=(20.0, 20.0, 20.0),
        extent_mm_min=(10.0, 10.0, 10.0),
        in_plane_px={axis: (in_plane_mm, in_plane_mm) for axis in axes},
        in_plane_mm={axis: (in_plane_mm, in_plane_mm / 2) for axis in axes},
        slices={axis: share for axis in axes},
    )


def intensity(*, low=-60.0, high=180.0):
    return Intensity(
        count=1000,
        mean=60.0,
        median=60.0,
        std=40.0,
        min=-900.0,
        max=1500.0,
        percentile_00_5=low,
        percentile_99_5=high,
    )


def evidence(**changes):
    """An abdominal CT of 10 cases, 512 x 512 x 100 voxels of 0.75 x 0.75 x 3 mm, two structures."""
    facts = {
        "cases": {f"case{n}": (1, 2) for n in range(10)},
        "shapes": ((512, 512, 100),) * 10,
        "spacings": ((0.75, 0.75, 3.0),) * 10,
        "orientations": {"LAS": 10},
        "labels": {1: label_summary(in_plane_mm=80.0), 2: label_summary(in_plane_mm=20.0, frequency=0.0025)},
        "single_component_cases": {1: 10, 2: 9},
        "background_frequency": 0.9875,
        "channels": ("CT",),
        "modality": "CT",
        "modality_reason": "the data set says so",
        "intensity": (intensity(),),
        "image_range": (-1024.0, 3000.0),
        "label_names": {0: "background", 1: "liver", 2: "aorta"},
        "machine": CPU,
    }
    facts |= changes
    alone = {name: name for name in facts["cases"]}
    subjects = {NONE: Subjects(rule=NONE, reason="Each case counts as a subject of its own.", of=alone)}
    return Evidence(**({"subjects": subjects} | facts))


def decide(facts, network="samed", **overrides):
    """All decisions of the plan in one mapping, `overrides` standing in for rules."""
    decided, decisions = {}, {}
    for name, rule in {**SHARED_RULES, **NETWORK_RULES[network]}.items():
        decisions[name] = rule(facts, decided)
        decided[name] = overrides.get(name, decisions[name].value)
    return decisions


def values(facts, network="samed", **overrides):
    return {name: decision.value for name, decision in decide(facts, network, **overrides).items()}
