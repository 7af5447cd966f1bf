import json

import pytest

from pgsam_monai.base.edits import PLANNED, blaming_edits, edited_configs, planned_digests
from pgsam_monai.base.errors import UserFault

TRAIN, INFERENCE = '{"epochs": 2}', '{"device": "cpu"}'


@pytest.fixture
def configs(tmp_path):
    texts = {"train.json": TRAIN, "inference.json": INFERENCE}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "metadata.json").write_text(json.dumps({"pgsam_monai": {PLANNED: planned_digests(texts)}}))
    return tmp_path


def test_what_was_edited_damaged_or_lost_is_known(configs):
    assert edited_configs(configs) == []
    (configs / "train.json").write_text('{"epochs": 3}')
    (configs / "inference.json").unlink()
    assert edited_configs(configs) == ["train.json", "inference.json"]
    (configs / "train.json").write_bytes(b"\xff\xfe")
    assert "train.json" in edited_configs(configs)
    for text in ("", "[]", '{"pgsam_monai": 7}', '{"pgsam_monai": {"planned_files": [1]}}'):
        (configs / "metadata.json").write_text(text)
        assert edited_configs(configs) == []


def test_a_fault_is_laid_to_the_edited_file_that_was_used(configs):
    (configs / "train.json").write_text('{"epochs": "three"}')
    with pytest.raises(UserFault, match="train.json .* was edited, and can't be run: TypeError: 'str'"):
        with blaming_edits(configs, ["train.json"]):
            raise RuntimeError("Failed to instantiate") from TypeError("'str' is no number.")
    with pytest.raises(KeyError):
        with blaming_edits(configs, ["inference.json"]):  # not edited: the fault is ours
            raise KeyError("pred")
    with pytest.raises(UserFault, match="^Label it.$"):
        with blaming_edits(configs, ["train.json"]):
            raise UserFault("Label it.")
    with pytest.raises(OSError):
        with blaming_edits(configs, ["train.json"]):
            raise OSError(28, "No space left on device")
