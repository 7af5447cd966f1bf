import json

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.case_file import entry_name, merged, read_case_file, write_case_file

NAMES = ["background", "spleen", "liver"]


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "configs/texts.json"
    texts = {"a": {"spleen": ["Large."]}, entry_name("a", 3): {"liver": ["One.", "Two."]}, "b": {}}
    write_case_file(file, texts)
    assert json.loads(file.read_text()) == {"a": {"spleen": "Large."}, "a/3": {"liver": ["One.", "Two."]}}
    assert read_case_file(file, NAMES) == {"a": {"spleen": ["Large."]}, "a/3": {"liver": ["One.", "Two."]}}
    write_case_file(file, {"b": {"background": ["All else."]}})
    assert list(read_case_file(file, NAMES)) == ["b"]
    assert list(read_case_file(f"{file}.bak", NAMES)) == ["a", "a/3"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": {"splen": "Large."}}', "'a': the bundle has no class 'splen'. Did you mean 'spleen'"),
        ('{"a": {"spleen": " "}}', "a/spleen: "),
        ('{"a": {"spleen": []}}', "a/spleen: "),
        ('{"a": {"spleen": 3}}', "a/spleen: "),
        ('{"a": "Large."}', "a: .*is not of type 'object'"),
        ("[]", "an object in braces is expected"),
        ("{", "no valid JSON"),
    ],
)
def test_other_content_is_told_where(tmp_path, content, said):
    (tmp_path / "texts.json").write_text(content)
    with pytest.raises(UserFault, match=rf"texts.json.*{said}"):
        read_case_file(tmp_path / "texts.json", NAMES)


def test_no_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; .*pgsam describe --each"):
        read_case_file(tmp_path / "texts.json", NAMES)


def test_new_texts_replace_those_that_were_asked_for_or_stand_beside_them():
    old = {"a": {"spleen": ["Old."], "liver": ["Kept."]}, "b": {"spleen": ["Gone."]}, "c": {"spleen": ["C."]}}
    new = {"a": {"spleen": "New."}, "b": {}, "d": {"spleen": "D."}}
    assert merged(old, new, asked=["spleen"], append=False) == {
        "a": {"spleen": ["New."], "liver": ["Kept."]}, "c": {"spleen": ["C."]}, "d": {"spleen": ["D."]},
    }  # fmt: skip
    assert merged(old, new, asked=["spleen"], append=True) == {
        "a": {"spleen": ["Old.", "New."], "liver": ["Kept."]}, "b": {"spleen": ["Gone."]},
        "c": {"spleen": ["C."]}, "d": {"spleen": ["D."]},
    }  # fmt: skip
