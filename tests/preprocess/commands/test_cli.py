"""`pgsam-plan` as a program: arguments, exit status, files."""

import inspect
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from planning_data import write_scans

from pgsam_monai.base.command_line import read_words
from pgsam_monai.base.errors import UserFault
from preprocess.commands.arguments import make_request
from preprocess.commands.help import help_text, network_names
from preprocess.commands.main import main
from preprocess.layouts import LAYOUTS
from preprocess.networks import NETWORK_RULES
from preprocess.recipes import recipe_names
from preprocess.rules.encoders import BACKBONES

ROOT = Path(__file__).parents[3]
MOST_STARTS = 6
"""as many times the CPU time of importing NumPy; a start takes 0.4 to 3.6, and torch alone some 15"""


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_scans(tmp_path / "Task09_Abdomen CT")


def call(*arguments):
    """Exit status of `pgsam-plan` run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def load(path):
    return json.loads(Path(path).read_text())


def started(*arguments, code="from preprocess.commands.main import main; main()"):
    """(result, fewest CPU seconds of two tries) of a fresh interpreter."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    times_s = []
    for _ in range(2):
        begun = children_cpu_s()
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment
        )
        times_s.append(children_cpu_s() - begun)
    return result, min(times_s)


def children_cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def most_s():
    """A clock says how busy the machine is, too; this machine's own speed is what a start is held against."""
    return MOST_STARTS * started(code="import numpy")[1]


def test_help_teaches_and_is_quick(most_s):
    result, time_s = started("--help")
    assert result.returncode == 0
    assert "examples" in result.stdout and "pgsam-plan Task04_Hippocampus" in result.stdout
    assert time_s < most_s


@pytest.mark.parametrize(
    "arguments",
    [("nowhere",), ("x", "--targt", "gpu"), ("--recipe", "samed_synaps"), (".", "--override", "imag_size=3")],
)
def test_wrong_arguments_are_one_quick_sentence(arguments, most_s):
    result, time_s = started(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("pgsam-plan: ") and result.stderr.count("\n") == 1
    assert time_s < most_s


def test_wrong_arguments_need_no_numpy():
    code = (
        "import sys, preprocess.commands.main as c\n"
        "try: c.main(['nowhere'])\n"
        "except SystemExit: sys.exit('numpy' in sys.modules)"
    )
    result, _ = started(code=code)
    assert result.returncode == 0, result.stderr


def test_torch_and_monai_are_never_imported(scans, tmp_path):
    code = (
        "import sys; from preprocess.commands.main import main; main(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'monai', 'open_clip', 'matplotlib'} & set(sys.modules)))"
    )
    result, _ = started(str(scans), "--workers", "1", "--networks", "samed,pgsam", code=code)
    assert result.returncode == 0, result.stderr


def test_a_folder_becomes_plan_report_and_bundle(scans, capsys):
    assert call(scans, "--workers", 1, "--target", "cpu") == 0
    names = {path.name for path in Path("plans/abdomen_ct").iterdir()}
    assert {"plan.json", "splits.json", "fingerprint.json", "report.html"} <= names
    plan, splits = load("plans/abdomen_ct/plan.json"), load("plans/abdomen_ct/splits.json")
    assert plan["decisions"]["labels"]["value"] == [0, 1, 5]
    assert plan["decisions"]["slice_axis"]["value"] == "axial"
    assert len(splits["folds"]) == 5
    assert Path("bundles/samed_abdomen_ct/configs/train.json").is_file()
    said = capsys.readouterr().out
    assert (
        "python -m monai.bundle run training --config_file bundles/samed_abdomen_ct/configs/train.json"
        in said
    )
    assert "smallest structure" in said


def test_the_same_command_gives_the_same_bytes(scans):
    call(scans, "--workers", 1)
    files = ["plan.json", "splits.json", "fingerprint.json", "report.html"]
    first = {name: Path("plans/abdomen_ct", name).read_bytes() for name in files}
    call(scans, "--workers", 1)
    assert {name: Path("plans/abdomen_ct", name).read_bytes() for name in files} == first


def test_wishes_reach_the_plan(scans):
    status = call(
        scans, "--resolution", 512, "--backbone=vit_b", "--target", "gpu", "--memory-gb", 40,
        "--few_shot", "50%", "--override", "epochs=7", "--override", "rank=8,fit=stretch", "--workers", 1,
    )  # fmt: skip
    assert status == 0
    plan = load("plans/abdomen_ct/plan.json")
    entries = plan["configurations"]["samed"]
    wished = {"image_size": 512, "backbone": "vit_b", "epochs": 7, "rank": 8, "fit": "stretch"}
    assert {name: entries[name]["value"] for name in wished} == wished
    assert entries["image_size"]["set_by"] == "--resolution"
    assert entries["weights"]["value"] == "sam_vit_b"
    assert plan["decisions"]["memory_gb"]["value"] == 40
    assert load("plans/abdomen_ct/splits.json")["few_shot"] == {"spec": "50%", "level": "case"}


def test_fatal_faults_stop_without_a_plan_and_can_be_skipped(scans, capsys):
    (scans / "label/label0003.nii.gz").unlink()
    assert call(scans, "--workers", 1) == 1
    said = capsys.readouterr()
    assert "img0003" in said.out and "--skip_faulty" in said.err
    assert not Path("plans/abdomen_ct/plan.json").exists()
    assert not Path("bundles").exists()
    assert call(scans, "--workers", 1, "--skip_faulty") == 0
    skipped = load("plans/abdomen_ct/plan.json")["dataset"]["skipped"]
    assert len(skipped) == 1 and "0003" in skipped[0]["case"]
    assert load("plans/abdomen_ct/plan.json")["dataset"]["num_cases"] == 5
    assert not any("0003" in name for name in load("plans/abdomen_ct/splits.json")["cases"])


def test_a_corrupt_case_is_skipped_on_request(scans):
    image = scans / "img/img0002.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    assert call(scans, "--workers", 1) == 1
    assert call(scans, "--workers", 1, "--skip_faulty") == 0
    assert load("plans/abdomen_ct/plan.json")["dataset"]["num_cases"] == 5


def test_an_edited_plan_is_taken_up(scans):
    call(scans, "--workers", 1, "--target", "cpu", "--override", "epochs=7")
    path = Path("plans/abdomen_ct/plan.json")
    plan = load(path)
    plan["configurations"]["samed"]["backbone"]["value"] = "vit_b"
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path) == 0
    entries = load(path)["configurations"]["samed"]
    assert (
        entries["backbone"]["source"] == "override" and entries["backbone"]["planned"]["value"] == "vit_tiny"
    )
    assert entries["backbone"]["set_by"] == "an edit of plan.json"
    assert entries["weights"]["value"] == "sam_vit_b"  # follows
    assert entries["epochs"]["value"] == 7 and entries["epochs"]["set_by"] == "--override"
    assert load("bundles/samed_abdomen_ct/configs/train.json")["weights"] == "sam_vit_b"
    again = path.read_bytes()
    assert call("--from_plan", path) == 0
    assert path.read_bytes() == again


def test_an_edited_plan_without_its_data_changes_alone(scans, capsys):
    call(scans, "--workers", 1, "--target", "cpu")
    scans.rename(scans.with_name("moved"))
    path, facts = (
        Path("plans/abdomen_ct/plan.json"),
        Path("bundles/samed_abdomen_ct/configs/training_facts.json"),
    )
    plan, known = load(path), load(facts)
    facts.unlink()
    plan["configurations"]["samed"]["backbone"]["value"] = "vit_b"
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path) == 0
    assert "nothing follows" in capsys.readouterr().out
    assert load(facts) == known and known["structures"]["liver"]["cases"] == 6
    assert load(path)["configurations"]["samed"]["weights"] == plan["configurations"]["samed"]["weights"]


def test_a_plan_from_elsewhere_is_data(scans, capsys):
    """Sent without its hidden copy: what it says is checked, and enters the configs as it is."""
    call(scans, "--workers", 1, "--target", "cpu")
    path = Path("mailed/plan.json")
    path.parent.mkdir()
    Path("plans/abdomen_ct/splits.json").rename("mailed/splits.json")
    plan = load("plans/abdomen_ct/plan.json")
    for evil in ({"epochs": "$1 + 1"}, {"encoder_training": "@seed"}):
        copy = json.loads(json.dumps(plan))
        copy["configurations"]["samed"][next(iter(evil))]["value"] = next(iter(evil.values()))
        path.write_text(json.dumps(copy))
        assert call("--from_plan", path, "--bundles_dir", "evil") == 1
        assert "must be" in capsys.readouterr().err and not Path("evil").exists()
    plan["dataset"]["folder"] = "$1 + 1"
    plan["decisions"]["label_names"]["value"][1] = "%train"
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path, "--bundles_dir", "mailed_bundles") == 0
    config = load("mailed_bundles/samed_abdomen_ct/configs/train.json")
    assert config["dataset_dir"]["_target_"].endswith("from_json") and "$1" not in str(config["dataset_dir"])


def test_a_moved_data_set_is_told_in_the_plan_and_nothing_else_of_that_entry(scans, capsys):
    call(scans, "--workers", 1, "--target", "cpu")
    moved, path = scans.with_name("moved"), Path("plans/abdomen_ct/plan.json")
    scans.rename(moved)
    plan = load(path)
    plan["dataset"]["folder"] = str(moved)
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path) == 0
    assert load("bundles/samed_abdomen_ct/configs/train.json")["dataset_dir"] == str(moved)
    plan["dataset"]["name"] = "another"
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path) == 1
    assert "dataset.name is no decision that can be edited" in capsys.readouterr().err


@pytest.mark.parametrize("moved", [False, True])
def test_an_old_plan_is_taken_up_without_what_is_no_longer_decided(scans, capsys, moved):
    """Earlier versions decided on class_weights, which nothing read."""
    call(scans, "--workers", 1, "--target", "cpu")
    path = Path("plans/abdomen_ct/plan.json")
    ours, plan = path.read_bytes(), load(path)
    weights = {"value": [1.0, 2.0], "reason": "Set.", "source": "override", "set_by": "--override"}
    plan["decisions"]["class_weights"] = weights | {"planned": {"value": [1.0, 1.0], "reason": "Equal."}}
    for file in (path, path.with_name(".plan_as_written.json")):
        file.write_text(json.dumps(plan))
    if moved:
        scans.rename(scans.with_name("moved"))
    assert call("--from_plan", path) == 0
    assert "class_weights is no longer decided" in capsys.readouterr().out
    assert path.read_bytes() == ours
    assert "class_weights" not in Path("bundles/samed_abdomen_ct/docs/README.md").read_text()


def test_a_broken_plan_file_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "plan.json"
    path.write_text("{")
    assert call("--from_plan", path) == 1
    assert "no valid JSON" in capsys.readouterr().err


def test_several_networks_get_a_bundle_and_a_next_line_each(scans, capsys):
    assert call(scans, "--workers", 1, "--target", "cpu", "--networks", "samed,pgsam") == 0
    said = capsys.readouterr().out
    for network in ("samed", "pgsam"):
        config = f"bundles/{network}_abdomen_ct/configs/train.json"
        assert f"  python -m monai.bundle run training --config_file {config}\n" in said
        assert Path(config).is_file()
    assert "Texts     bundles/pgsam_abdomen_ct/configs/texts.json" in said and "clip_model" in said
    assert not Path("bundles/samed_abdomen_ct/configs/texts.json").exists()
    texts = load("bundles/pgsam_abdomen_ct/configs/texts.json")
    assert list(texts) == ["background", "liver", "aorta"]
    report = Path("plans/abdomen_ct/report.html").read_text()
    assert "<h2>Texts</h2>" in report and texts["liver"] in report and "clip_towers" in report


def test_unknown_names_are_told_in_plan_terminal_and_report(scans, capsys):
    wish = 'label_names=["background","livver","zzz"]'
    assert call(scans, "--workers", 1, "--networks", "pgsam", "--override", wish) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "knows 1 of 3 names" in said and "near:" in said
    assert "'zzz'" in load("plans/abdomen_ct/plan.json")["decisions"]["texts"]["reason"]
    assert "pgsam describe" in Path("plans/abdomen_ct/report.html").read_text()


def test_edited_label_names_are_followed_by_the_texts(scans):
    call(scans, "--workers", 1, "--networks", "pgsam")
    path = Path("plans/abdomen_ct/plan.json")
    plan = load(path)
    plan["decisions"]["label_names"]["value"][1] = "spleen"
    path.write_text(json.dumps(plan))
    assert call("--from_plan", path) == 0
    assert "Spleen" in load("bundles/pgsam_abdomen_ct/configs/texts.json")["spleen"]


def test_a_recipe_names_data_set_and_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scans = write_scans(tmp_path / "copy", count=40, shape=(12, 10, 6))
    assert call(scans, "--recipe", "pgsam_synapse_10pct", "--workers", 1) == 1
    refused = " ".join(capsys.readouterr().err.split())
    assert "has 6 slices, and the recipe's list names its slice 116" in refused
    assert call(scans, "--recipe", "pgsam_synapse_10pct", "--few_shot", "slices:10%", "--workers", 1) == 0
    splits = load("bundles/pgsam_synapse_10pct/configs/splits.json")
    assert splits["few_shot"] == {"spec": "slices:10%", "level": "slice", "share": 0.1}
    assert call(scans, "--recipe", "pgsam_synapse", "--few_shot", "5", "--workers", 1) == 0
    splits = load("bundles/pgsam_synapse/configs/splits.json")
    assert len(splits["folds"][0]["training"]) == 5 and len(splits["test"]) == 12
    assert all(splits["cases"][name]["labels"] for name in splits["folds"][0]["training"])
    assert call("--recipe", "pgsam_synapse", "--few_shot", "19") == 1


def test_a_recipe_needs_no_data_and_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = []
    for folder in ("a", "b"):
        assert (
            call("--recipe", "samed_synapse", "--bundles_dir", folder, "--plans_dir", f"{folder}_plans") == 0
        )
        root = tmp_path / folder
        files.append(
            {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        )
    assert files[0] == files[1] and len(files[0]) > 6
    assert load("a_plans/synapse/plan.json")["dataset"]["folder"] == "/data/Synapse"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--recipe", "samed_synapse", "--networks", "pgsam"), "settings of samed only"),
        (("--from_plan", "plan.json", "--networks", "pgsam"), "can't change an existing plan"),
        (("--from_plan", "plan.json", "--few_shot", "5"), "can't change an existing plan"),
        ((".", "--networks", "samd"), "Did you mean 'samed'"),
        ((".", "--layout", "nnunt"), "Did you mean 'nnunet'"),
        ((".", "--target", "tpu"), "target must be one of cpu, gpu"),
        ((".", "--few_shot", "lots"), "give a number of cases"),
        ((".", "--resolution", "225"), "multiple of 16"),
        ((".", "--workers", "0"), "at least 1"),
        (("--target", "cpu"), "Give a data set's folder"),
        ((".", "--from_plan", "plan.json"), "leave DATASET"),
    ],
)
def test_sentences_for_wrong_arguments(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text("{}")
    assert call(*arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_single_case_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(write_scans(tmp_path / "one", count=1), "--workers", 1) == 1
    assert "2" in capsys.readouterr().err


def test_flags_are_checked_before_anything_runs():
    def checked(*words):
        return read_words(words, make_request)

    assert checked("data", "--few-shot", "10%") == (["data"], {"few_shot": "10%"})
    assert checked("--override", "a=1", "--override=b=[1,2]") == ([None], {"override": ["a=1", "b=[1,2]"]})
    assert checked("20240101", "--skip_faulty", "--name", "007", "--plans_dir=7") == (
        ["20240101"], {"skip_faulty": True, "name": "007", "plans_dir": "7"},
    )  # fmt: skip
    with pytest.raises(UserFault, match="needs a value"):
        checked("--target", "--layout", "msd")
    with pytest.raises(UserFault, match="One dataset at a time"):
        make_request("a", "b")
    with pytest.raises(UserFault, match="name at least two"):
        make_request("a", merge=True)
    with pytest.raises(UserFault, match="--layout goes with one data set"):
        make_request("/", "/", merge=True, layout="msd")


def test_the_help_names_every_option_network_layout_recipe_and_backbone():
    text = help_text()
    named = set(re.findall(r"^  --(\w+)", text, flags=re.M))
    assert named == set(inspect.signature(make_request).parameters) - {"dataset", "more"}
    assert sorted(sum(network_names(), [])) == sorted(NETWORK_RULES)
    words = set(re.findall(r"\w+", text))
    assert {*NETWORK_RULES, *LAYOUTS, *recipe_names(), *BACKBONES} <= words
    assert max(map(len, text.splitlines())) <= 120
