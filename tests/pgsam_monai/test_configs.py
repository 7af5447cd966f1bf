"""Values go into configs and come out as they were."""

from __future__ import annotations

import json

import pytest

from pgsam_monai.configs import read_configs, run_configs, set_component

CANARY = "$__import__('pathlib').Path('canary').touch()"
STRINGS = [CANARY, "@seed", "%train", "run##1", "a::b", "None", "7", "a,b", "[z]", "{{seed}}", ""]
SEEN: list = []


def remember(value) -> None:
    SEEN.append(value)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs"
    folder.mkdir()
    content = {
        "bundle_root": ".", "seed": 1, "weights": "none", "beside": "$@bundle_root + '/models'",
        "run": [{"_target_": f"{__name__}.remember", "value": "@bundle_root"}],
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "metadata.json").write_text("{}")
    return folder / "a.json"


@pytest.mark.parametrize("text", STRINGS)
def test_a_parser_gives_back_what_was_set(config, text, tmp_path):
    parser = read_configs([config], {"bundle_root": text, "weights": [text, {"x": text}], "seed": None})
    assert parser.get_parsed_content("bundle_root") == text
    assert parser.get_parsed_content("beside") == f"{text}/models"
    assert parser.get_parsed_content("weights") == [text, {"x": text}]
    assert parser.get_parsed_content("seed") is None
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("text", STRINGS)
def test_a_run_sees_what_was_set(config, text, tmp_path):
    SEEN.clear()
    run_configs("run", [config], {"bundle_root": text})
    assert SEEN == [text] and not (tmp_path / "canary").exists()


def test_what_is_no_json_comes_back_as_itself(config):
    cases = ({"image": CANARY},)
    parser = read_configs([config], {"weights": cases})
    assert parser.get_parsed_content("weights") is cases


def test_a_component_of_ours_is_built(config):
    parser = read_configs([config], {})
    set_component(parser, "weights", {"_target_": "builtins.list"})
    assert parser.get_parsed_content("weights") == []
