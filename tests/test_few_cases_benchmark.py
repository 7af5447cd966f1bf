"""benchmarks/few_cases.py: what each start plans, how many steps it gets, how few cases become rows and a figure."""

from __future__ import annotations

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
from dataset_builders import write_nnunet

from benchmarks import few_cases
from pgsam_monai.base.errors import UserFault


def wishes(start, file=None, own=()):
    return few_cases.start_overrides(start, Namespace(start_file=file, start_override=list(own)))


def test_each_start_has_its_backbone_and_weights(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    assert wishes("random") == ["backbone=vit_tiny", "weights=null"]
    assert wishes("lite_medsam") == ["backbone=lite_medsam", "weights=lite_medsam"]
    assert wishes("drawn_tiny", file) == ["backbone=vit_tiny", f"weights={file}"]
    own = ["random:rank=8", "lite_medsam:encoder_training=full"]
    assert wishes("lite_medsam", file, own)[2:] == ["encoder_training=full"]
    with pytest.raises(UserFault, match="there is no '.*none.pt'"):
        wishes("drawn_tiny", tmp_path / "none.pt")
    with pytest.raises(UserFault, match="must be of random, sam_vit_b.*got 'liter_medsam'"):
        wishes("liter_medsam")


def test_steps_fill_the_minutes():
    assert few_cases.EPOCHS * few_cases.steps_per_epoch(0.5, 5) == 600
    assert few_cases.steps_per_epoch(100, 0.01) == 1


def test_starts_are_planned_apart_on_the_same_splits(tmp_path):
    data = write_nnunet(tmp_path / "Dataset001_Pair", cases=5, shape=(12, 10, 4))
    arguments = Namespace(
        dataset=data, networks=["samed"], starts=["random", "drawn_tiny"], start_file=tmp_path / "made.pt",
        start_override=["drawn_tiny:encoder_training=full"], override=["samed.batch_size=3"], image_size=32,
        held_out=1, cases=[1, 2], seeds=2,
    )  # fmt: skip
    arguments.start_file.touch()
    bundles = few_cases.plan_all(tmp_path / "out", arguments)
    assert list(bundles) == ["samed_random", "samed_drawn_tiny"]
    plans = [json.loads((bundle / "configs/train.json").read_text()) for bundle in bundles.values()]
    assert [plan["weights"] for plan in plans] == [None, str(arguments.start_file)]
    assert {plan["network_def"]["encoder_training"] for plan in plans} == {"full"}
    assert {(plan["image_size"], plan["batch_size"]) for plan in plans} == {(32, 3)}
    curves = [few_cases.curve_of(bundle, tmp_path / title, 4, arguments) for title, bundle in bundles.items()]
    drawn = [
        [json.loads(file.read_text())["folds"][0] for file in sorted(curve.folder.glob("*/splits.json"))]
        for curve in curves
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4
    assert [len(fold["training"]) for fold in drawn[0]] == [1, 1, 2, 2]
    assert {tuple(fold["validation"]) for fold in drawn[0]} == {tuple(drawn[0][0]["validation"])}
    assert len(drawn[0][0]["validation"]) == 1
    assert (
        curves[0].overrides["warmup_iterations"] == 8
        and curves[0].overrides["val_interval"] == few_cases.EPOCHS
    )


def test_the_report_has_a_line_per_start_and_a_figure(tmp_path, capsys):
    curves = {}
    for title, scores in {"samed_random": (0.2, 0.4), "samed_drawn_tiny": (0.6, 0.6)}.items():
        for seed, dice in enumerate(scores):
            row = {
                "network": "samed", "cases": 2, "seed": seed, "dice": dice, "dice_by_class": {"a": dice}, "steps": 40,
                "wall_s": 90.0, "cpu_s": 60.0, "resumed": False,
            }  # fmt: skip
            place = tmp_path / title / f"cases_002_seed_{seed}"
            place.mkdir(parents=True)
            (place / "result.json").write_text(json.dumps(row))
        curves[title] = SimpleNamespace(folder=tmp_path / title, units="subjects")
    few_cases.report(curves, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:7] == [
        "| network and start | steps | CPU min a run | 2 subjects |",
        "|---|---|---|---|",
        "| samed_random | 40 | 1.00 | 0.300 ± 0.141 |",
        "| samed_drawn_tiny | 40 | 1.00 | 0.600 ± 0.000 |",
    ]
    assert (tmp_path / "few_cases.png").read_bytes().startswith(b"\x89PNG")
    starts = [line.partition(",")[0] for line in (tmp_path / "few_shot.csv").read_text().splitlines()]
    assert starts == ["network", "samed_random", "samed_random", "samed_drawn_tiny", "samed_drawn_tiny"]
