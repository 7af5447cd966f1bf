"""JSON files of ours: read whole, or told in a sentence."""

from __future__ import annotations

import os

import pytest

from pgsam_monai.base.errors import MissingFile
from pgsam_monai.base.json_files import DamagedFile, read_json

REMEDY = "plan the data set again"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'"a"',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff\xfe\x00",
        b"[" * 10**5,
    ],
)
def test_damage_is_a_sentence_with_the_remedy(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"a\.json' is damaged: .*; {REMEDY}\.$"):
        read_json(tmp_path / "a.json", remedy=REMEDY)


def test_what_is_there_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\xc3\xbc"]}')
    assert read_json(tmp_path / "a.json", remedy=REMEDY) == {"a": [1, 2.5, None, "ü"]}
    (tmp_path / "b.json").write_text("[1]")
    assert read_json(tmp_path / "b.json", remedy=REMEDY, shape=list) == [1]
    assert read_json(tmp_path / "b.json", remedy=REMEDY, shape=None) == [1]


def test_no_file_no_pipe(tmp_path):
    with pytest.raises(MissingFile, match=REMEDY):
        read_json(tmp_path / "none.json", remedy=REMEDY)
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", ""):
        with pytest.raises(DamagedFile, match="no ordinary"):
            read_json(tmp_path / name, remedy=REMEDY)
