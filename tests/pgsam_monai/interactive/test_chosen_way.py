"""configs/corrections.json: what clicks do in a bundle."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.interactive.chosen_way import FILE, chosen_way


@pytest.fixture
def bundle(tmp_path):
    return SimpleNamespace(config_file=lambda name: tmp_path / name)


def test_clicks_spread_where_nothing_is_said(bundle):
    assert chosen_way(bundle) == "spread"


@pytest.mark.parametrize("way", ["spread", "ask"])
def test_what_a_person_wrote_counts(bundle, way):
    bundle.config_file(FILE).write_text(json.dumps({"corrections": way}))
    assert chosen_way(bundle) == way


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no valid JSON"),
        ("[]", "an object in braces"),
        ("{}", "'corrections' is a required property"),
        ('{"corrections": "pull"}', "corrections: 'pull' is not one of"),
        ('{"corrections": "ask", "schema_version": 2}', "schema_version: 1 was expected"),
    ],
)
def test_a_damaged_file_is_told_with_its_path_and_what_to_do(bundle, text, said):
    bundle.config_file(FILE).write_text(text)
    with pytest.raises(DamagedFile, match=rf"{FILE}' is damaged: .*{said}.*; delete it, and clicks spread"):
        chosen_way(bundle)
