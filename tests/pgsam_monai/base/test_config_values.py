"""What stands in a config as data comes back as it was, whatever MONAI's syntax is."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from pgsam_monai.base.config_values import as_data

STRINGS = [
    "plain", "/data/Doe, John", "$1 + 1", "$__import__('os').system('false')", "@a", "a@b", "%train", "%a#b", "50%",
    "run##1", "a::b", "#", "::", "{{seed}}", "_target_", '"quoted" \\ $', "$", "Ü#ß", "a\n$b", "None", "1e3", "True",
    "@a#0", "x\\u0024", "+a", "~a", "__import__",
]  # fmt: skip


def read_back(value):
    parser = ConfigParser({"a": [1], "value": as_data(value), "same": "@value", "shown": "$@value"})
    contents = [parser.get_parsed_content(name) for name in ("value", "same", "shown")]
    assert contents[0] == contents[1] == contents[2]
    return contents[0]


@pytest.mark.parametrize("text", STRINGS)
def test_a_string_is_itself(text):
    assert read_back(text) == text
    assert read_back([text, {"deep": [text]}]) == [text, {"deep": [text]}]


@pytest.mark.parametrize("key", STRINGS)
def test_a_key_is_itself(key):
    assert read_back({key: {key: 1}}) == {key: {key: 1}}


@pytest.mark.parametrize("value", [3, 2.5, None, True, [1, 2], {"liver": 1}, "/data/Synapse", ["a", "b c"]])
def test_what_means_nothing_to_monai_is_written_as_it_is(value):
    assert as_data(value) == value and as_data(value) is value
