"""Many spellings of one name become one key: case, accents, separators, side, plural, British or American."""

from __future__ import annotations

import re
import unicodedata

FILLERS = frozenset("the of healthy normal organ structure label mask seg segmentation nii gz".split())
"""Words that never tell one structure from another. "and", "or", "no" and "a" (artery) do."""

SIDES = {
    **dict.fromkeys(
        "l lt lft left sinister sinistra sinistrum sinistri links linke linker linkes gauche gauches izquierdo "
        "izquierda izquierdos izquierdas izq".split(),
        "left",
    ),
    **dict.fromkeys(
        "r rt rght right dexter dextra dextrum dextri rechts rechte rechter rechtes droit droite droits droites "
        "derecho derecha derechos derechas dcho dcha".split(),
        "right",
    ),
}

ORDINALS = {
    word: str(number)
    for number, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=1
    )
}

IRREGULAR = {
    "atria": "atrium",
    "bronchi": "bronchus",
    "disk": "disc",
    "disks": "disc",
    "femora": "femur",
    "glutei": "gluteus",
    "humeri": "humerus",
    "metastases": "metastasis",
    "scapulae": "scapula",
    "clavicle": "clavicula",
    "clavicles": "clavicula",
    "testes": "testis",
    "vertebrae": "vertebra",
    "gray": "grey",
    "fibre": "fiber",
    "fibres": "fiber",
    "centre": "center",
}

_JOINED = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GLUED_SIDE = re.compile(r"(left|right)(.{3,})|(.{3,})(left|right)")
_NUMBERED = re.compile(r"([^\W\d]{3,})(\d+)|(\d+)([^\W\d]{3,})")


def spelling_keys(name: str) -> tuple[str, ...]:
    """The keys under which a name may be looked up, the likelier first: as written, then with its camel case
    taken apart ("LeftKidney", "LKd").

    A key holds the name's words in alphabetical order, so "kidney_left", "Left Kidney" and "L. kidneys" share
    one. It drops no word that carries meaning: "kidney and tumor" and "non-tumor kidney" keep all of theirs.
    """
    name = _plain_letters(name)
    return tuple(dict.fromkeys(" ".join(sorted(_words(form))) for form in (name, _JOINED.sub(" ", name))))


def side_of(key: str) -> str:
    """ "left", "right", or "" for neither or both."""
    sides = set(key.split()) & {"left", "right"}
    return sides.pop() if len(sides) == 1 else ""


def _plain_letters(name: str) -> str:
    name = name.replace("œ", "oe").replace("Œ", "Oe").replace("æ", "ae").replace("Æ", "Ae")
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _words(name: str) -> list[str]:
    name = re.sub(r"['’`]s\b", "", name.casefold())
    name = re.sub(r"[&+]", " and ", name)
    parts = [_split(part) for part in name.split("/")]
    words = parts[0]
    for part in parts[1:]:
        # "kidney/left" is one name, "prostate/uterus" and "kidney/tumor" are alternatives
        alternative = _says_what(words) and _says_what(part)
        words = [*words, *(["or"] if alternative else []), *part]
    return [word for word in words if word not in FILLERS]


def _split(text: str) -> list[str]:
    words = []
    for word in re.split(r"[\W_]+", text):
        glued = _GLUED_SIDE.fullmatch(word) or (None if _is_ordinal(word) else _NUMBERED.fullmatch(word))
        words += [_one_word(part) for part in (filter(None, glued.groups()) if glued else [word]) if part]
    return words


def _says_what(words: list[str]) -> bool:
    return any(word not in FILLERS and word not in ("left", "right") for word in words)


def _is_ordinal(word: str) -> bool:
    return re.fullmatch(r"\d+(st|nd|rd|th)", word) is not None


def _one_word(word: str) -> str:
    if word in SIDES:
        return SIDES[word]
    if word in ORDINALS:
        return ORDINALS[word]
    if word.isdecimal() or _is_ordinal(word):
        return re.sub(r"\D", "", word).lstrip("0") or "0"
    word = IRREGULAR.get(word, word)
    return _american(_singular(word))


def _singular(word: str) -> str:
    """Strips the plural; a singular may lose its s too ("pancrea"), the same way in every spelling."""
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "uses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def _american(word: str) -> str:
    """oesophagus, oedema, haemorrhage, caecum, tumour -> esophagus, edema, hemorrhage, cecum, tumor."""
    return re.sub(r"our$", "or", word.replace("ae", "e").replace("oe", "e"))
