"""`pgsam describe --each`: a vision model writes texts of each case, or slice, from its pictures alone.

PG-SAM's paper has a text per image (Fig. 2a), which a vision model wrote from it: HuatuoGPT-Vision, by its authors'
word, a paragraph per slice to train with and one per volume to predict. Ours, too, come from no label: what is said of
a case that is to be predicted is said as of those that trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.answers import BadAnswer, read_seen, seen_schema, text_fault
from pgsam_monai.texts.asking import Asker, ask_until_good, load_answers, store_answers
from pgsam_monai.texts.case_file import CASE_TEXTS_FILE, CaseTexts, merged, read_case_file, write_case_file
from pgsam_monai.texts.case_pictures import Album, Sheet
from pgsam_monai.texts.case_questions import WORDS, message_of, question_on, sheet_key
from pgsam_monai.texts.consent import announcement, check_permission
from pgsam_monai.texts.describe import ATTEMPTS, CACHE_FILE, asker_of, choose_labels
from pgsam_monai.texts.questions import Subject, read_subject
from pgsam_monai.texts.wishes import CASE, ModelChoice, Wishes, check_wishes

SHOWN = 5
"""cases, or faults, that are named; of more their number is told"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One, on one picture."""

    sheet: Sheet
    text: str
    """its words"""
    key: str
    """of its answer"""


def describe_cases(
    bundle: str | Path, choice: ModelChoice, wishes: Wishes, *, images: Sequence[Mapping[str, Any]] | None = None,
    output: str | Path | None = None, attempts: int = ATTEMPTS,
    make_asker: Callable[[ModelChoice], Asker] | None = None, say: Callable[[str], None] = print,
) -> Path | None:  # fmt: skip
    """Write texts of each case or slice into a file (`case_file`), whose other entries stay. Returns it.

    A dry run writes nothing and returns None.

    Args:
        bundle: whose classes are looked for; its splits say which cases there are.
        choice: of the vision model.
        wishes: `each` says of what.
        images: [{"name", "image": path or paths}] instead of the bundle's cases.
        output: the file; the bundle's configs/case_texts.json if None. What it was stays as .bak, .bak2, …
        attempts: answers in all to one request; after a bad one the model is told its fault.
        make_asker: makes the model of its choice.
        say: tells the user.

    Raises:
        UserFault: no such bundle, class, image, model or permission; or, after the others were written, pictures
            without a good answer.
    """
    check_wishes(choice, wishes)
    subject = read_subject(bundle)
    labels = choose_labels(subject, wishes.classes)
    file = Path(output) if output else subject.root / CASE_TEXTS_FILE
    _entries(file, subject)  # whether they can be read is known now, not after the last answer
    album = Album(subject, dataset_dir=wishes.dataset_dir, images=images)
    requests = _requests(subject, labels, album.sheets(wishes.each or CASE), choice, wishes)
    kept = _kept(subject, [request.key for request in requests])
    pictures = _pixels([request.sheet for request in requests])
    known = sum(request.key in kept for request in requests)
    say(announcement(choice, wishes, count=len(requests), kept=known, words=WORDS, pictures=pictures))
    check_permission(choice, wishes, pictures)
    if wishes.dry_run:
        return _show(requests, say)
    make = make_asker or partial(asker_of, schema=seen_schema(labels))
    asker = make(choice) if known < len(requests) else None
    read = partial(read_seen, names=labels, clip_tokens=subject.clip_tokens)

    def ask(request: Request) -> dict[str, str]:
        message = message_of(request.text, album.png(request.sheet))
        return ask_until_good(asker, [message], read, attempts=attempts)

    texts, faults = _ask_all(subject, requests, kept, ask, choice.name)
    before = _entries(file, subject)
    after = merged(before, texts, asked=labels, append=wishes.append)
    if after != before or not file.exists():
        write_case_file(file, after)
    say(f"{len(texts)} of {len(requests)} pictures described, {_counted(texts)}: {file}")
    if faults:
        raise UserFault(_told(faults, len(requests)))
    return file


def _entries(file: Path, subject: Subject) -> CaseTexts:
    return read_case_file(file, subject.names) if file.exists() else {}


def _requests(
    subject: Subject, labels: Sequence[str], sheets: Sequence[Sheet], choice: ModelChoice, wishes: Wishes
) -> list[Request]:
    texts = [question_on(subject, labels, sheet, instructions=wishes.instructions) for sheet in sheets]
    return [
        Request(sheet=sheet, text=text, key=sheet_key(choice.name, text, sheet))
        for sheet, text in zip(sheets, texts, strict=True)
    ]


def _kept(subject: Subject, keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """{request key: texts} of the requests that were answered before and whose texts still pass the rules."""
    answers = load_answers(subject.root / CACHE_FILE)
    found = {key: answers[key].get("texts", {}) for key in keys if key in answers}
    fault = partial(text_fault, clip_tokens=subject.clip_tokens)
    return {key: texts for key, texts in found.items() if not any(map(fault, texts.values()))}


def _pixels(sheets: Sequence[Sheet]) -> str:
    """Which pixels are sent, for the user's eyes; the case names are not sent."""
    cases = list(dict.fromkeys(sheet.case for sheet in sheets))
    more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
    slices = sum(len(sheet.slices) for sheet in sheets)
    return (
        f"the pixels of {slices} slices of patients' scans in {len(sheets)} pictures (of {', '.join(cases[:SHOWN])}"
        f"{more})"
    )


def _show(requests: Sequence[Request], say: Callable[[str], None]) -> None:
    """Each wording once, with the pictures that it is asked of."""
    for text in dict.fromkeys(request.text for request in requests):
        entries = ", ".join(request.sheet.entry for request in requests if request.text == text)
        say(f"\n--- {entries}\n{text}")


def _ask_all(
    subject: Subject, requests: Sequence[Request], kept: Mapping[str, dict[str, str]],
    ask: Callable[[Request], dict[str, str]], model: str,
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:  # fmt: skip
    """{entry: its texts}, and {entry: why it has none}; each answer is stored at once."""
    file = subject.root / CACHE_FILE
    answers, texts, faults = load_answers(file), {}, {}
    for request in tqdm(requests, desc="describing", unit="picture"):
        entry = request.sheet.entry
        try:
            texts[entry] = kept[request.key] if request.key in kept else ask(request)
        except BadAnswer as fault:
            faults[entry] = str(fault)
            continue
        except UserFault as error:
            after = " Answers so far are kept; the same command goes on after them." if answers else ""
            raise UserFault(f"{error}{after}") from error
        if request.key not in kept:
            answers[request.key] = {"model": model, "texts": texts[entry]}
            store_answers(file, answers)
    return texts, faults


def _counted(texts: Mapping[str, Mapping[str, str]]) -> str:
    count = sum(map(len, texts.values()))
    return f"{count} text{'s' * (count != 1)} of classes that are seen there"


def _told(faults: Mapping[str, str], count: int) -> str:
    shown = " ".join(f"'{entry}': {fault}" for entry, fault in list(faults.items())[:SHOWN])
    return (
        f"{len(faults)} of {count} pictures have no new texts. {shown} Try again with the same command, which asks for "
        "these alone, with another model or with --instructions."
    )
