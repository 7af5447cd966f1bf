import json

import pytest
from chat_server import GOOD, as_json

from pgsam_monai.texts.answers import BadAnswer, read_answer


@pytest.mark.parametrize(
    "answer",
    [
        as_json(GOOD),
        f"```json\n{as_json(GOOD)}\n```",
        f'<think>\nperhaps {{"text": 1}}?\n</think>\n{as_json(GOOD)}',
        as_json(f"  {GOOD.replace(' ', '  ', 1)} "),
        json.dumps({"text": GOOD}, indent=2) + "\nHope this helps!",
    ],
)
def test_a_good_text_is_found_in_what_models_put_around_it(answer):
    assert read_answer(answer, clip_tokens=None) == GOOD


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (GOOD, "no JSON object"),
        ("", "no JSON object"),
        ('{"text": "cut', "no valid JSON"),
        ('{"answer": "x"}', "'text' is a required property"),
        ('{"text": ["a"]}', "is not of type 'string'"),
        (json.dumps({"text": GOOD, "why": "so"}), "'why' was unexpected"),
        (as_json("  "), "is empty"),
        (as_json("..."), "is empty"),
        (as_json("One two three four"), "has 4 words"),
        (as_json("word " * 61), "has 61 words"),
        (as_json("First paragraph of it here.\n\nSecond paragraph of it."), "one paragraph"),
        (as_json("The **spleen** is a grey organ on CT."), "without markdown"),
        (as_json("- the spleen is a grey organ on CT"), "without markdown"),
        (as_json("I'm sorry, but I can't describe organs for you."), "refuses"),
        (as_json("As an AI language model I describe the spleen."), "refuses"),
        (as_json("脾 脏 是 一 个 器 官 CT"), "must be English"),
    ],
)
def test_faults_are_told_to_the_model(answer, fault):
    with pytest.raises(BadAnswer, match=fault):
        read_answer(answer, clip_tokens=None)


def test_clips_own_tokens_are_counted():
    numbers = "between 40-60 HU, " * 12 + "grey"
    assert len(numbers.split()) <= 60
    assert read_answer(as_json(numbers), clip_tokens=None)
    with pytest.raises(BadAnswer, match="tokens for CLIP, which reads 77"):
        read_answer(as_json(numbers))
    assert read_answer(as_json(GOOD)) == GOOD
