"""What a vision model is asked about a picture of a case: which classes it sees there, and how they look.

Nothing of the question is taken from labels, so that what is written of a validation or test case, or of a new patient,
says no more than of a training case.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgsam_monai.texts.asking import Message, request_key
from pgsam_monai.texts.case_pictures import Sheet
from pgsam_monai.texts.questions import Subject, images_of, picture_part, spoken

WORDS = ("class names", "modality", "plane")
"""What is told in words."""
TASK = """\
You look at a picture of one patient and write, for a vision-language model that is to find structures in it, what is \
seen of each.
Images: {images}
Picture: {shown}
Structures:
{structures}
Write one English sentence of at most 50 words on each of these structures that you see in the picture: where in the \
picture it lies, its shape, size, brightness and borders, its neighbours, and what is unusual about it here. Leave out \
a structure that is not in the picture, or give null for it; do not guess. Use no markdown.
"""
FORM = """\
Answer with this JSON and nothing else: {{"{first}": "the sentence", …}}, with the names in quotes above as keys."""
ORDER = {
    "S": "from the feet to the head", "I": "from the head to the feet", "A": "from back to front",
    "P": "from front to back", "L": "from the patient's right to the left", "R": "from the patient's left to the right",
}  # fmt: skip


def question_on(subject: Subject, labels: Sequence[str], sheet: Sheet, *, instructions: str = "") -> str:
    """The words of a request on a picture: which of `labels` it shows."""
    text = TASK.format(
        images=images_of(subject),
        shown=_shown(len(sheet.slices), subject.orientation),
        structures="\n".join(_named(subject, label) for label in labels),
    )
    if instructions:
        text += f"Also heed: {instructions}\n"
    return text + FORM.format(first=labels[0])


def message_of(text: str, png: bytes) -> Message:
    """A request, in OpenAI's vision form."""
    return {"role": "user", "content": [{"type": "text", "text": text}, picture_part(png)]}


def sheet_key(model: str, text: str, sheet: Sheet) -> str:
    """The key of its answer, known before the picture is drawn."""
    pixels = {"type": "pixels", "sha256": sheet.digest}
    return request_key(model, [{"role": "user", "content": [{"type": "text", "text": text}, pixels]}])


def _shown(count: int, orientation: str) -> str:
    if count == 1:
        return "one slice." if orientation else "the whole image."
    order = f", {ORDER[orientation[2]]}" if orientation else ""
    return f"{count} slices of one scan side by side, in reading order{order}."


def _named(subject: Subject, label: str) -> str:
    """As a key of the answer, and its plain name where that differs."""
    plain = spoken(subject, label).partition(" (label ")[0]
    return f'"{label}"' if plain == label else f'"{label}": {plain}'
