"""One description per class, for networks that read text."""

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.structures.describing import describe_structure, plain_text
from pgsam_monai.base.structures.library import UnknownStructure
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, takes


def _is_texts(value: Any) -> bool:
    def fits(texts: Any) -> bool:
        several = texts if isinstance(texts, list) else [texts]
        return bool(several) and all(isinstance(text, str) and text.strip() for text in several)

    return isinstance(value, dict) and all(fits(texts) for texts in value.values())


TEXTS = Kind(what='a JSON object of texts by label name, as in {"liver":"…"}', fits=_is_texts)


@takes(TEXTS)
def choose_texts(evidence: Evidence | None, decided: Mapping[str, Any]) -> Decision:
    """Name -> text, background first: from the library of described structures, else a plain sentence.

    The data set's words and its other labels decide what is shown: part of the body, contrast phase, kind of picture.
    """
    names, modality, orientation = decided["label_names"], decided["modality"], decided["orientation"]
    dataset = evidence.dataset_words if evidence else ""
    texts, unknown = {}, []
    for name in names:
        try:
            texts[name] = describe_structure(name, modality, dataset, others=names, orientation=orientation)
        except UnknownStructure as error:
            texts[name] = plain_text(name, modality)
            unknown.append(_with_suggestions(name, error.suggestions))
    described = len(names) - len(unknown)
    reason = f"The library of described structures knows {described} of {len(names)} names."
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        reason += (
            f" Plain sentence{plural} only for {', '.join(unknown)}: text helps where it says more, so correct the "
            f"name{plural} (label_names), write the bundle's texts.json, or let `pgsam describe` write it."
        )
    return Decision(value=texts, reason=reason)


def _with_suggestions(name: str, suggestions: Any) -> str:
    near = " or ".join(f"'{suggestion}'" for suggestion in list(suggestions)[:2])
    return f"'{name}' (near: {near})" if near else f"'{name}'"
