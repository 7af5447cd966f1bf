"""Any name: of files, folders, classes, in a config and as a word that is typed; it stays what it is, or a sentence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from dataset_builders import write_nnunet
from fuzz.json_damage import CANARY, CODE
from fuzz.planned import check_clean, fresh_monai, link_tree, run_command
from fuzz.tally import Tally, examples
from fuzz.workers import Worker, Wrong
from hypothesis import given
from hypothesis import strategies as st
from untrained import plan_untrained

from pgsam_monai.commands.main import main as pgsam
from pgsam_monai.configs import read_configs
from preprocess.commands.main import main as pgsam_plan

ODD = [
    "20240101", "1e3", "None", "True", "a,b", "[a]", "{b}", "(1,)", "a b", " a", "a ", "-x", "--help", "$x",
    "@x", "%x",
    "a#b", "a##b", "a::b", "~", "~root", "*", "?", "a'b", 'a"b', "a\\b", "a\nb", "a\tb", "\u202eab", "ä", "ä",
    "é" * 60,
    "x" * 200, "CON", "a.nii.gz", ".x", "..x", "...", "_target_", "_disabled_", "<script>", "&amp;", "|", "`x`",
    "\x1b[31m",
    "image", "label", "background", "0", "-1", "{{labels}}", "%train", "@images", *CODE,
]  # fmt: skip
NAMES = (
    st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24)
).filter(lambda name: not {"/", "\0"} & set(name) and name not in (".", ".."))
SHOWN = NAMES.filter(lambda name: not name.startswith("."))
"""Files that begin with a dot are hidden, and nobody's."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner,
    max_size=3) | st.dictionaries(st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]),
    max_size=9), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
HOMES = ("pristine", "cwd", "run")


@examples(60)
@given(st.dictionaries(st.sampled_from(["a", "b", "folder"]), VALUES, min_size=1))
def test_what_enters_a_config_comes_out_as_it_was(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp()
    file = folder / "config.json"
    file.write_text(json.dumps({"a": 0, "b": 0, "folder": "x"}))
    parser = read_configs([file], values)
    assert {name: parser.get_parsed_content(name) for name in values} == values
    assert not (Path.cwd() / CANARY).exists()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    (root / "pristine").mkdir()
    small = write_nnunet(root / "Small", cases=4)
    plan_untrained(small, root, "unet")
    for part in ("Small", "bundles"):
        shutil.move(root / part, root / "pristine" / part)
    shutil.rmtree(root / "plans")
    return root


def lay(root: Path) -> Path:
    """An empty folder to work in."""
    for home in ("run", "cwd"):
        shutil.rmtree(root / home, ignore_errors=True)
        (root / home).mkdir()
    os.chdir(root / "cwd")
    return root / "run"


def try_predict(root: str, bundle: str, scan: str, output: str) -> str:
    """Predict a file of any name by a bundle of any name into a folder of any name."""
    place = lay(Path(root))
    link_tree(place.parent / "pristine/bundles/unet_small", place / bundle)
    (place / "scans").mkdir()
    image = place / "scans" / f"{scan}.nii.gz"
    shutil.copy(place.parent / "pristine/Small/imagesTr/case_1_0000.nii.gz", image)
    try:
        with fresh_monai():
            run_command(
                pgsam,
                ["predict", str(place / bundle), str(image), str(place / "out" / output), "--device", "cpu"],
            )
    finally:
        check_clean(place.parent, HOMES)
    written = [file for file in (place / "out").rglob("*.nii.gz") if not file.name.startswith(".")]
    if len(written) != 1 or written[0].parent != place / "out" / output:
        raise Wrong(f"predictions: {[str(file) for file in written]}")
    return ""


def try_plan(root: str, data: str, classes: list[str], case: str, plans: str) -> str:
    """Plan a data set of any name with cases and classes of any names."""
    place = lay(Path(root))
    shutil.copytree(place.parent / "pristine/Small", place / data)
    for part, old, new in (("imagesTr", "case_1_0000", f"{case}_0000"), ("labelsTr", "case_1", case)):
        (place / data / part / f"{old}.nii.gz").rename(place / data / part / f"{new}.nii.gz")
    described = json.loads((place / data / "dataset.json").read_text())
    described["labels"] = {"background": 0, **{name: value for value, name in enumerate(classes, start=1)}}
    (place / data / "dataset.json").write_text(json.dumps(described))
    words = [str(place / data), "--networks", "unet", "--target", "cpu", "--workers", "1", "--plans_dir",
             str(place / plans), "--bundles_dir", str(place / "bundles")]  # fmt: skip
    try:
        run_command(pgsam_plan, words)
    finally:
        check_clean(place.parent, HOMES)
    bundles = list((place / "bundles").iterdir())
    if len(bundles) != 1:
        raise Wrong(f"bundles: {bundles}")
    _check_bundle(bundles[0], [*described["labels"]], case, place / data)
    return ""


def _check_bundle(bundle: Path, classes: list[str], case: str, data: Path) -> None:
    """Names of classes, cases and folder are in the configs what they are."""
    from pgsam_monai.bundle import Bundle

    planned = Bundle(bundle, configs=["train.json"], device="cpu")
    if planned.names != classes:
        raise Wrong(f"classes {planned.names} for {classes}")
    cases = json.loads((bundle / "configs/splits.json").read_text())["cases"]
    if case not in cases:
        raise Wrong(f"cases {sorted(cases)} without {case!r}")
    if planned.content("dataset_dir") != str(data):
        raise Wrong(f"folder {planned.content('dataset_dir')!r} for {str(data)!r}")
    if "<script>" in (bundle / "docs/README.md").read_text():
        raise Wrong("markup in README.md")


def test_files_folders_and_bundles_of_any_name_are_predicted(root):
    tally = Tally("names, predict")
    with Worker(try_predict, longest_s=60) as worker:

        @examples(5)
        @given(NAMES, NAMES, NAMES)
        def attempt(bundle, scan, output):
            if (
                len(f"{scan}.nii.gz".encode()) < 250
                and max(len(name.encode()) for name in (bundle, output)) < 250
            ):
                tally.count(worker(str(root), bundle, scan, output), (bundle, scan, output))

        attempt()
    tally.finish()


def test_data_sets_of_any_names_are_planned(root):
    tally = Tally("names, plan")
    with Worker(try_plan, longest_s=60) as worker:

        @examples(5)
        @given(NAMES, st.lists(NAMES, min_size=2, max_size=2, unique=True), SHOWN, NAMES)
        def attempt(data, classes, case, plans):
            if max(len(name.encode("utf-8", "replace")) for name in (data, case, plans)) < 200:
                tally.count(worker(str(root), data, classes, case, plans), (data, classes, case, plans))

        attempt()
    tally.finish()
