"""What a language model is asked about a class: everything in it is text, but for pictures asked for by name."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.structures.library import Structure, UnknownStructure, find_structure
from pgsam_monai.texts.answers import CLIP_TOKENS
from pgsam_monai.texts.asking import Message
from pgsam_monai.texts.texts import read_texts

TEXTS_FILE = "configs/texts.json"
TASK = """\
You write a text from which a vision-language model learns to find one structure in medical images.
Structure: {name}
Images: {modality}
Other structures labelled in the same images: {others}
Current text: {current}
Write one English sentence of at most 50 words on this structure: its shape, its position, its neighbours (above all \
those among the other structures), its look on such images, and what tells it from what it is taken for. Correct the \
current text where it is wrong. Say only what holds for most patients; use no markdown.
"""
CONFUSED = "Often taken for it by mistake: {confusions}.\n"
PICTURE = """\
The picture is one of them, of one patient. There the structure lies {place}. \
Let the sentence tell how it looks in images like this one; do not speak of "the picture" or of this patient.
"""
SIDES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
FORM = 'Answer with this JSON and nothing else: {"text": "the sentence"}'


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the requests of a bundle draw on."""

    root: Path
    names: tuple[str, ...]
    """class names in the order of the labels, background first"""
    texts: tuple[tuple[str, ...], ...]
    """the current alternatives of each class, in the same order"""
    modality: str
    """"CT", "MR", "RGB" or "unknown", as planned"""
    plane: str
    """"axial", "coronal", "sagittal" or "none", as planned"""
    orientation: str
    """axis codes of (rows, columns, slices); '' for pictures"""
    clip_tokens: int | None
    """context length of the text tower, None if it does not read CLIP's own tokens"""

    @property
    def file(self) -> Path:
        """The bundle's texts."""
        return self.root / TEXTS_FILE


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A slice that shows a class; `case` and `slice` tell the user, and are never sent."""

    label: str
    case: str
    slice: int
    """index along the last axis of the preprocessed volume"""
    png: bytes
    place: str
    """where the class lies in the picture, in words"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request on one class."""

    label: str
    messages: tuple[Message, ...]
    picture: Picture | None = None
    """what the messages hold beside text"""


def read_subject(bundle: str | Path) -> Subject:
    """The bundle's classes, current texts and planned images.

    Raises:
        UserFault: no bundle, one whose network reads no text, or a texts.json that does not fit the plan.
    """
    root = Path(bundle)
    plan_file = root / "configs/plan.json"
    if not plan_file.is_file():
        raise UserFault(f"'{bundle}' is no bundle (no configs/plan.json); plan one with pgsam-plan.")
    if not (root / TEXTS_FILE).is_file():
        raise UserFault(
            f"Bundle '{bundle}' has no {TEXTS_FILE}: its network reads no text. Plan one that does, such as "
            "pgsam-plan … --networks pgsam."
        )
    plan = read_json(plan_file, remedy="plan the data set again")
    decided = {name: decision["value"] for name, decision in plan["decisions"].items()}
    names = tuple(decided["label_names"])
    return Subject(
        root=root, names=names, texts=tuple(map(tuple, read_texts(root / TEXTS_FILE, list(names)))),
        modality=decided["modality"], plane=decided["slice_axis"], orientation=decided["orientation"],
        clip_tokens=_clip_tokens(plan),
    )  # fmt: skip


def ask_about(
    subject: Subject, label: str, *, instructions: str = "", picture: Picture | None = None
) -> Question:
    """The request on a class, with a picture in OpenAI's vision form if there is one."""
    current = " / ".join(subject.texts[subject.names.index(label)])
    others = [name for name in subject.names[1:] if name != label]
    structure = _structure(subject, label)
    text = TASK.format(
        name=spoken(subject, label),
        modality=images_of(subject),
        others=", ".join(others) or "none",
        current=current,
    )
    if structure and structure.confusions:
        text += CONFUSED.format(confusions=structure.confusions)
    if picture:
        text += PICTURE.format(place=picture.place)
    if instructions:
        text += f"Also heed: {instructions}\n"
    content = text + FORM
    if picture:
        content = [{"type": "text", "text": content}, picture_part(picture.png)]
    return Question(label=label, messages=({"role": "user", "content": content},), picture=picture)


def question_text(question: Question) -> str:
    """The words of a question, without its picture."""
    content = question.messages[0]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def picture_part(png: bytes) -> dict[str, Any]:
    """A picture in OpenAI's vision form."""
    url = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _structure(subject: Subject, label: str) -> Structure | None:
    try:
        return find_structure(label, context=" ".join(subject.names))
    except UnknownStructure:
        return None


def spoken(subject: Subject, label: str) -> str:
    """The structure's plain name, and the label where it differs ("right kidney (label 'rkid')")."""
    structure = _structure(subject, label)
    if structure is None:
        return label.replace("_", " ")
    return structure.name if structure.name == label else f"{structure.name} (label '{label}')"


def images_of(subject: Subject) -> str:
    """What kind of images they are, and how they are shown."""
    kinds = {
        "CT": "computed tomography (CT)",
        "MR": "magnetic resonance imaging (MR)",
        "RGB": "colour pictures",
    }
    kind = kinds.get(subject.modality, "medical images of unstated modality")
    if subject.plane == "none":
        return kind
    return f"{kind}, {subject.plane} slices{_view(subject.orientation)}"


def _view(orientation: str) -> str:
    """PLS: rows run to the back, columns to the patient's left, as radiologists look at axial slices."""
    if not orientation:
        return ""
    top, left = (SIDES[OPPOSITE[code]] for code in orientation[:2])
    return f"; the patient's {left} is on the left side, the {top} at the top"


def _clip_tokens(plan: dict) -> int | None:
    """CLIP's 77 for open_clip's own models; sentence encoders, and towers from a hub or a folder, bring another
    tokenizer and context."""
    planned = list(plan.get("configurations", {}).values())

    def decided(name: str) -> list[str]:
        return [entries[name]["value"] for entries in planned if entries.get(name, {}).get("value")]

    others = [model for model in decided("clip_model") if model.startswith(("hf-hub:", "local-dir:"))]
    return None if others or decided("text_encoder") else CLIP_TOKENS
