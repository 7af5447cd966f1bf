"""summary.json and summary.csv: true of what lies in the folder, whatever was there and whatever goes wrong."""

import csv
import hashlib
import json

import numpy as np
import pytest
from dataset_builders import tiny_image, tiny_label, write_volume

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.training_facts import Range, StructureRanges, TrainingFacts
from pgsam_monai.base.volume import ReadError
from pgsam_monai.predicting.confidence import Calibration, Confidence
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import list_inputs, prediction_file
from pgsam_monai.predicting.predict import predict_cases
from pgsam_monai.predicting.products import Products
from pgsam_monai.predicting.summary import Maker, Summary
from pgsam_monai.transforms.read import image_reader
from pgsam_monai.voxels.result import LabelResult

LABELS = {"bright": 1, "lost": 2}
SMALL = Range(cases=9, min=0.001, max=0.002, quantiles=())
FACTS = TrainingFacts(
    cases=9, structures={"bright": StructureRanges(values=(1,), cases=9, of=9, millilitres=SMALL)}
)
NOTHING = Confidence()
OF_BRIGHT = Calibration(map="line", points=((0.8, 0.6), (0.9, 0.9)), error=0.05, cases=16)
CALIBRATED = Confidence(calibrated_on="16 cases", of={"bright": OF_BRIGHT, "lost": OF_BRIGHT})


class Thresholding:
    """Stands for a trained bundle; what is brighter than the mean is bright."""

    channels, labels, background, window = 1, LABELS, 0, None

    def __init__(self, folder, raises=None, sure=0.85):
        self.folder, self.raises, self.sure = folder, raises or {}, sure

    def load(self):
        pass

    def label_map(self, image, *, text=None, texts=None):
        for name, fault in self.raises.items():
            if name in str(image):
                raise fault
        volume = image_reader.get()(image)
        voxels = (volume.voxels[0] > volume.voxels[0].mean()).astype(np.uint8)
        return LabelResult(
            voxels=voxels, affine=volume.affine, source=image, names=["-", *LABELS], values=[0, 1, 2],
            soft_dice={"bright": self.sure, "lost": 0.9},
        )  # fmt: skip


@pytest.fixture
def scans(tmp_path):
    for number in (1, 2, 3):
        write_volume(tmp_path / f"scans/s{number}.nii.gz", tiny_image(number, tiny_label(number)))
    (tmp_path / "model.pt").write_bytes(b"weights")
    return tmp_path / "scans"


def run(
    source, output, *, weights=b"weights", facts=FACTS, raises=None, confidence=NOTHING, sure=0.85, **settings
):
    model = source.parent / "model.pt"
    if model.read_bytes() != weights:
        model.write_bytes(weights)
    maker = Maker(
        bundle="samed_x", weights=lambda: model, trained_for={"network": "samed"},
        classes={name: (value,) for name, value in LABELS.items()}, facts=facts,
        confidence=confidence,
    )  # fmt: skip
    products = Products(folder=output, summary=Summary(output, maker, settings))
    return predict_cases(Thresholding(output, raises, sure), list_inputs(source), products)


def read(output):
    return json.loads((output / "summary.json").read_text())


def cases(output):
    return {entry["case"]: entry for entry in read(output)["cases"]}


def test_what_a_summary_tells(scans, tmp_path, capsys):
    output = tmp_path / "out"
    written = run(scans, output, device="cpu", text=None, html=False)
    (made,) = read(output)["runs"]
    assert (made["bundle"], made["trained_for"]) == ("samed_x", {"network": "samed"})
    assert made["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert made["settings"] == {"device": "cpu"} and "9 training cases" in made["warnings"]
    told = cases(output)
    assert list(told) == ["s1", "s2", "s3"]
    entry = told["s1"]
    assert entry["images"] == [str(scans / "s1.nii.gz")] and entry["output"] == "s1.nii.gz"
    assert entry["output_sha256"] == hashlib.sha256(written[0].read_bytes()).hexdigest()
    assert entry["run"] == made["run"] and entry["seconds"] > 0
    bright, lost = entry["structures"]
    assert bright["structure"] == "bright" and bright["pieces"] >= 1
    assert len(bright["centroid_mm"]) == 3 and bright["mean_intensity"]
    assert bright["warnings"] == [
        f"bright: {bright['millilitres']:.3g} ml; training cases held 0.001 to 0.002"
    ]
    assert (lost["voxels"], lost["millilitres"], lost["centroid"], lost["warnings"]) == (0, 0, None, [])
    assert f"unlike training: s1: {bright['warnings'][0]}" in capsys.readouterr().err
    rows = list(csv.DictReader((output / "summary.csv").open()))
    assert [(row["case"], row["structure"]) for row in rows][:3] == [
        ("s1", "bright"),
        ("s1", "lost"),
        ("s2", "bright"),
    ]
    assert (
        rows[0]["weights_sha256"] == made["weights_sha256"] and rows[0]["warnings"] == bright["warnings"][0]
    )
    assert float(rows[0]["x_mm"]) == bright["centroid_mm"][0] and rows[1]["x_mm"] == ""


def test_without_facts_nothing_is_warned_of_and_that_is_said(scans, tmp_path):
    run(scans, tmp_path / "out", facts=None)
    (made,) = read(tmp_path / "out")["runs"]
    assert "planned without data" in made["warnings"]
    assert not any(
        each["warnings"] for entry in cases(tmp_path / "out").values() for each in entry["structures"]
    )


def test_expected_dice_of_what_was_found(scans, tmp_path, capsys):
    run(scans, tmp_path / "out", confidence=CALIBRATED, facts=None)
    bright, lost = cases(tmp_path / "out")["s1"]["structures"]
    assert (bright["expected_dice"], bright["expected_dice_error"], bright["warnings"]) == (0.75, 0.05, [])
    assert lost["expected_dice"] is None and lost["expected_dice_error"] is None
    (made,) = read(tmp_path / "out")["runs"]
    assert made["expected_dice"] == "Expected Dice is calibrated on 16 cases."
    row, other = list(csv.DictReader((tmp_path / "out/summary.csv").open()))[:2]
    assert (row["expected_dice"], row["expected_dice_error"], other["expected_dice"]) == ("0.75", "0.05", "")
    assert "unlike training" not in capsys.readouterr().err


def test_confidence_as_of_no_case_before_is_warned_of(scans, tmp_path, capsys):
    run(scans, tmp_path / "out", confidence=CALIBRATED, sure=0.4)
    bright, _ = cases(tmp_path / "out")["s1"]["structures"]
    assert bright["expected_dice"] == 0.6 and len(bright["warnings"]) == 2
    assert "bright: soft Dice 0.40; 0.80 to 0.90 out of fold" in capsys.readouterr().err


def test_nothing_is_expected_where_nothing_was_calibrated(scans, tmp_path):
    run(scans, tmp_path / "out")
    bright, _ = cases(tmp_path / "out")["s1"]["structures"]
    assert bright["expected_dice"] is None
    assert "was not calibrated" in read(tmp_path / "out")["runs"][0]["expected_dice"]


def test_runs_share_a_summary_and_each_case_knows_its_weights(scans, tmp_path):
    output = tmp_path / "out"
    run(scans, output)
    (tmp_path / "more").mkdir()
    for name in ("s2", "s4"):
        write_volume(tmp_path / f"more/{name}.nii.gz", tiny_image(7, tiny_label(7)))
    run(tmp_path / "more", output, weights=b"other weights")
    content = read(output)
    digests = {made["run"]: made["weights_sha256"] for made in content["runs"]}
    assert sorted(cases(output)) == ["s1", "s2", "s3", "s4"] and len(digests) == 2
    for entry in content["cases"]:
        of_other = entry["case"] in ("s2", "s4")
        assert (
            digests[entry["run"]] == hashlib.sha256(b"other weights" if of_other else b"weights").hexdigest()
        )
    run(scans, output, weights=b"other weights")
    run(tmp_path / "more", output, weights=b"other weights")
    assert {made["weights_sha256"] for made in read(output)["runs"]} == {
        hashlib.sha256(b"other weights").hexdigest()
    }


def test_those_that_fail_are_told_until_they_succeed(scans, tmp_path):
    output, odd = tmp_path / "out", {"/s2.": ReadError("s2.nii.gz", "it is odd")}
    with pytest.raises(SomeFailed):
        run(scans, output, raises=odd)
    (failed,) = read(output)["failed"]
    assert (failed["case"], failed["reason"]) == ("s2", "s2.nii.gz: it is odd.")
    assert list(cases(output)) == ["s1", "s3"]
    run(scans, output)
    assert read(output)["failed"] == [] and sorted(cases(output)) == ["s1", "s2", "s3"]
    with pytest.raises(SomeFailed):  # what was predicted before still lies there
        run(scans, output, raises=odd)
    assert [entry["case"] for entry in read(output)["failed"]] == ["s2"] and "s2" in cases(output)


def test_a_killed_run_has_told_what_is_there(scans, tmp_path):
    output = tmp_path / "out"
    run(scans, output)
    with pytest.raises(KeyboardInterrupt):
        run(scans, output, weights=b"new", raises={"/s2.": KeyboardInterrupt()})
    runs = {made["run"]: made["weights_sha256"] for made in read(output)["runs"]}
    new = hashlib.sha256(b"new").hexdigest()
    assert {name: runs[entry["run"]] == new for name, entry in cases(output).items()} == {
        "s1": True, "s2": False, "s3": False,
    }  # fmt: skip


def test_a_result_that_is_being_replaced_is_not_told_of(scans, tmp_path, monkeypatch):
    output = tmp_path / "out"
    run(scans, output)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pgsam_monai.predicting.products.note_written", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scans, output)
    assert list(cases(output)) == ["s2", "s3"]


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{", '{"schema_version": 1}', '{"schema_version": 1, "runs": [], "cases": [7], "failed": []}',
        '{"schema_version": 1, "runs": [], "cases": [], "failed": [], "x": 1e999}', "[" * 99_999,
    ],
)  # fmt: skip
def test_a_damaged_summary_is_kept_aside(scans, tmp_path, text, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "summary.json").write_text(text)
    run(scans, output)
    assert list(cases(output)) == ["s1", "s2", "s3"]
    assert (output / "summary.json.bak").read_text() == text
    assert "summary.json' is damaged" in capsys.readouterr().err


def test_an_edited_summary_is_kept_and_goes_on(scans, tmp_path, capsys):
    output = tmp_path / "out"
    run(scans, output)
    edited = read(output)
    edited["cases"] = edited["cases"][:1]
    edited["cases"][0]["images"] = ["\ud800 by hand"]
    (output / "summary.json").write_text(json.dumps(edited))
    (output / "summary.csv").write_text("mine")
    write_volume(tmp_path / "s9.nii.gz", tiny_image(7, tiny_label(7)))
    run(tmp_path / "s9.nii.gz", output)
    assert list(cases(output)) == ["s1", "s9"]
    assert json.loads((output / "summary.json.bak").read_text()) == edited
    assert (output / "summary.csv.bak").read_text() == "mine"
    assert "is not what pgsam wrote there last; it is kept as" in capsys.readouterr().err


def test_what_another_command_writes_meanwhile_stays(scans, tmp_path, monkeypatch):
    output = tmp_path / "out"
    write_volume(tmp_path / "other/x.nii.gz", tiny_image(7, tiny_label(7)))
    real = Thresholding.label_map

    def label_map(self, image, *, text=None, texts=None):
        if "s2" in str(image):
            run(tmp_path / "other", output)
        return real(self, image, text=text)

    monkeypatch.setattr(Thresholding, "label_map", label_map)
    run(scans, output)
    assert sorted(cases(output)) == ["s1", "s2", "s3", "x"]


def test_inputs_are_never_replaced(tmp_path, scans):
    output = tmp_path / "out"
    output.mkdir()
    (output / "summary.json").write_text('{"labels": {}}')
    maker = Maker(bundle="b", weights=lambda: output, trained_for=None, classes={}, facts=None)
    products = Products(folder=output, summary=Summary(output, maker, {}))
    with pytest.raises(UserFault, match="would replace .*summary.json', which is read"):
        products.prepare(list_inputs(scans), also_read=[output / "summary.json"])
    (output / "summary.json").unlink()
    (output / "summary.json").mkdir()
    with pytest.raises(UserFault, match="A folder lies where .*summary.json' is to be written"):
        products.prepare(list_inputs(scans))


def test_a_case_that_is_called_summary(tmp_path, scans):
    (scans / "s1.nii.gz").rename(scans / "summary.nii.gz")
    run(scans, tmp_path / "out")
    assert prediction_file(tmp_path / "out", "summary").name == "summary.nii.gz"
    assert "summary" in cases(tmp_path / "out")
