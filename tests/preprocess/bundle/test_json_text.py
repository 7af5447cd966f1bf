"""Configs as text: the same content, as few lines as stay readable."""

from __future__ import annotations

import json

from preprocess.bundle.json_text import LINE, json_text

CONFIG = {
    "names": {f"structure number {n}": n for n in range(9)},
    "short": {"_target_": "A", "x": [1, [2, 3]], "y": {}},
    "component": {"_target_": "b" * 90, "first": "x" * 20, "second": None, "third": []},
    "nest": {"below": {"_target_": "b" * 90, "first": "x" * 20, "second": True, "third": {"_target_": "C"}}},
    "list": ["é" * 60, {"a": 1}, "z" * 60],
}


def test_the_content_is_as_it_was():
    assert json.loads(json_text(CONFIG)) == CONFIG
    assert list(json.loads(json_text(CONFIG))) == list(CONFIG)


def test_lines_by_hand():
    x, b, e, z = "x" * 20, "b" * 90, "é" * 60, "z" * 60
    expected = f"""{{
    "names": {{
        "structure number 0": 0, "structure number 1": 1, "structure number 2": 2, "structure number 3": 3,
        "structure number 4": 4, "structure number 5": 5, "structure number 6": 6, "structure number 7": 7,
        "structure number 8": 8
    }},
    "short": {{"_target_": "A", "x": [1, [2, 3]], "y": {{}}}},
    "component": {{
        "_target_": "{b}",
        "first": "{x}",
        "second": null,
        "third": []
    }},
    "nest": {{
        "below": {{
            "_target_": "{b}",
            "first": "{x}", "second": true,
            "third": {{"_target_": "C"}}
        }}
    }},
    "list": [
        "{e}",
        {{"a": 1}},
        "{z}"
    ]
}}
"""
    assert json_text(CONFIG) == expected


def test_lines_are_short_wherever_they_can_be():
    long = {"a": {"b": {"c": list(range(200)), "d": "w" * 200}}}
    lines = json_text(long).splitlines()
    assert [len(line) > LINE for line in lines].count(True) == 1 and len(lines) < 20
    assert json.loads("\n".join(lines)) == long
