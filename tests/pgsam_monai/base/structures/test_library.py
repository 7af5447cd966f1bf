"""The library's data are whole, and their faults are named."""

import json
import subprocess
import sys

import pytest

from pgsam_monai.base.structures import library as module
from pgsam_monai.base.structures.contextual import CONTEXTUAL, GENERIC
from pgsam_monai.base.structures.library import Structure, find_structure, load_library
from pgsam_monai.base.structures.spelling import spelling_keys

PARTS = ("shape", "position", "neighbours", "ct", "mr", "confusions")


def every_name(structure):
    return (structure.id, structure.name, *structure.synonyms)


def test_no_spelling_belongs_to_two_structures():
    claims = {}
    for structure in load_library().values():
        for key in {spelling_keys(name)[0] for name in every_name(structure)}:
            claims.setdefault(key, []).append(structure.id)

    assert {key: ids for key, ids in claims.items() if len(ids) > 1} == {}
    assert "" not in claims
    assert not any(spelling_keys(name)[0] in claims for name in CONTEXTUAL)


def test_contextual_names_lead_to_structures_and_no_name_decides_for_itself():
    for name, structures in CONTEXTUAL.items():
        for key, words in structures.items():
            assert key in load_library()
            assert all(len(spelling_keys(word)[0].split()) == 1 for word in words), name
            assert spelling_keys(name)[0] not in [spelling_keys(word)[0] for word in words]


def test_generic_meanings_belong_to_contextual_names_and_to_structures():
    for key, meant in GENERIC.items():
        assert spelling_keys(key)[0] == key and key in CONTEXTUAL and meant in load_library()


def test_the_library_is_large_and_its_parts_short():
    library = load_library()

    assert len(library) >= 150
    too_long = [
        f"{key}.{part}: {len(getattr(structure, part).split())} words"
        for key, structure in library.items()
        for part in PARTS
        if len(getattr(structure, part).split()) > 14
    ]
    assert too_long == []


def test_every_structure_is_described_and_phrases_run_on_in_a_sentence():
    for key, structure in load_library().items():
        assert structure.shape and structure.position, key
        assert structure.ct or structure.mr or structure.looks, key
        for part in PARTS:
            phrase = getattr(structure, part)
            assert phrase == " ".join(phrase.split()) and not phrase.endswith((".", ",", ";")), (
                f"{key}.{part}"
            )


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder in the library's place."""
    (tmp_path / "library").mkdir()
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    for cached in (module.load_library, module._index, module._contextual, module._sides):
        cached.cache_clear()
    yield tmp_path / "library"
    monkeypatch.undo()
    for cached in (module.load_library, module._index, module._contextual, module._sides):
        cached.cache_clear()


RECORD = {"name": "foo", "shape": "round", "position": "here", "synonyms": ["bar"]}


def test_records_are_read_from_every_file(folder):
    (folder / "a.json").write_text(json.dumps({"foo": RECORD}))
    (folder / "b.json").write_text(json.dumps({"baz": {**RECORD, "name": "baz", "synonyms": []}}))

    assert list(load_library()) == ["foo", "baz"]
    assert find_structure("Bars") == Structure(
        id="foo", name="foo", shape="round", position="here", synonyms=("bar",)
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"foo": RECORD}, {"foo": RECORD}, "'b.json': the id 'foo'"),
        (
            {"foo": RECORD},
            {"baz": {**RECORD, "name": "baz", "synonyms": ["Bar"]}},
            "'Bar' of 'baz' also means 'foo'",
        ),
        ({"foo": {**RECORD, "colour": "red"}}, {}, "'a.json', structure 'foo'.*colour"),
    ],
)
def test_a_faulty_library_names_the_fault(folder, first, second, message):
    (folder / "a.json").write_text(json.dumps(first))
    (folder / "b.json").write_text(json.dumps(second))

    with pytest.raises(ValueError, match=message):
        find_structure("foo bar")


def test_an_id_that_stands_twice_in_a_file_is_a_fault(folder):
    (folder / "a.json").write_text('{"foo": %s, "foo": %s}' % ((json.dumps(RECORD),) * 2))

    with pytest.raises(ValueError, match="foo stands twice"):
        load_library()


def test_the_library_needs_the_standard_library_only():
    code = (
        "import sys; from pgsam_monai.base.structures.describing import describe_structure as d; d('spleen', 'CT'); "
        "sys.exit(bool({'torch', 'numpy', 'monai', 'open_clip'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
