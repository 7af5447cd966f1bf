"""`pgsam describe`: a language model writes or refines the texts of a bundle's classes.

Nothing leaves the machine unless the user names an endpoint, and what is sent is printed first: class names, their
texts and the modality; pictures only with `pictures` or `each`, and to another machine only with `send_to_remote`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.replacing import backup_name
from pgsam_monai.texts.answers import SCHEMA, BadAnswer, text_fault
from pgsam_monai.texts.asking import Asker, ask_for_text, load_answers, request_key, store_answers
from pgsam_monai.texts.consent import announcement, check_permission
from pgsam_monai.texts.questions import Question, Subject, ask_about, question_text, read_subject
from pgsam_monai.texts.texts import write_texts
from pgsam_monai.texts.wishes import ModelChoice, Wishes, check_wishes

CACHE_FILE = "configs/texts_cache.json"
ATTEMPTS = 3
WORDS = ("class names", "their texts", "modality", "plane")
"""What is told in words."""


def describe(
    bundle: str | Path, choice: ModelChoice, wishes: Wishes, *, attempts: int = ATTEMPTS,
    make_asker: Callable[[ModelChoice], Asker] | None = None, say: Callable[[str], None] = print,
) -> Path | None:  # fmt: skip
    """Write the bundle's configs/texts.json anew; the old one stays as texts.json.bak, .bak2, …. Returns it.

    A dry run writes nothing and returns None.

    Each accepted answer is stored at once in configs/texts_cache.json: started again after an interruption, the
    same command asks for the rest only. A bad answer goes back to the model with its fault, `attempts` answers in
    all. A class with several pictures gets a text from each, alternatives whose embeddings CLIP averages; if one
    of them fails, the class keeps its old texts.

    Raises:
        UserFault: no such bundle, class, model or permission; or, after the other classes were written,
            classes without a good answer.
    """
    check_wishes(choice, wishes)
    subject = read_subject(bundle)
    labels = choose_labels(subject, wishes.classes)
    questions = _questions(subject, labels, wishes)
    kept = _kept_texts(subject, choice, questions)
    known = sum(_key(choice, question) in kept for question in questions)
    pictures = _pixels(questions) if wishes.pictures else ""
    say(announcement(choice, wishes, count=len(questions), kept=known, words=WORDS, pictures=pictures))
    check_permission(choice, wishes, pictures)
    if wishes.dry_run:
        return _show(questions, say)
    faults = {label: "no training slice of fold 0 shows it." for label in labels}
    for question in questions:
        faults.pop(question.label, None)
    asker = (make_asker or asker_of)(choice) if known < len(questions) else None
    try:
        texts = _ask_all(subject, choice, asker, questions, kept, faults, attempts)
    except UserFault as error:
        if not (subject.root / CACHE_FILE).is_file():
            raise
        raise UserFault(f"{error} Answers so far are kept; the same command goes on after them.") from error
    _write(subject, texts, append=wishes.append)
    say(f"{len(texts)} of {len(labels)} classes described: {subject.file}")
    if faults:
        raise UserFault(_told(faults, len(labels)))
    return subject.file


def choose_labels(subject: Subject, classes: Sequence[str] | None) -> list[str]:
    """The classes to describe; all but the background if none is named. Raises UserFault for unknown ones."""
    if classes is None:
        return list(subject.names[1:])
    for name in classes:
        if name not in subject.names:
            hint = did_you_mean(name, subject.names)
            raise UserFault(
                f"--classes: the bundle has no class '{name}'.{hint} It has: {', '.join(subject.names)}."
            )
    return list(dict.fromkeys(classes))


def _questions(subject: Subject, labels: Sequence[str], wishes: Wishes) -> list[Question]:
    if not wishes.pictures:
        return [ask_about(subject, label, instructions=wishes.instructions) for label in labels]
    from pgsam_monai.texts.pictures import make_pictures

    pictures = make_pictures(subject, labels, count=wishes.pictures, dataset_dir=wishes.dataset_dir)
    return [
        ask_about(subject, label, instructions=wishes.instructions, picture=picture)
        for label in labels
        for picture in pictures[label]
    ]


def _pixels(questions: Sequence[Question]) -> str:
    """Which pixels are sent, for the user's eyes; the case names are not sent."""
    pictures = [question.picture for question in questions if question.picture]
    shown = ", ".join(f"{picture.case} slice {picture.slice} ({picture.label})" for picture in pictures)
    size_kb = sum(len(picture.png) for picture in pictures) / 1000
    return f"the pixels of {len(pictures)} slices of patients' scans ({size_kb:.0f} kB: {shown})"


def asker_of(choice: ModelChoice, schema: Mapping[str, Any] = SCHEMA) -> Asker:
    """The model, which is to answer by a JSON schema if it is one behind an endpoint."""
    if choice.local:
        from pgsam_monai.texts.local_model import LocalModel

        return LocalModel(choice.local)
    from pgsam_monai.texts.endpoint import Endpoint, read_api_key

    key = read_api_key(choice.api_key_file)[0]
    return Endpoint(choice.endpoint, choice.model, api_key=key, schema=schema)


def _key(choice: ModelChoice, question: Question) -> str:
    return request_key(choice.name, question.messages)


def _kept_texts(subject: Subject, choice: ModelChoice, questions: Sequence[Question]) -> dict[str, str]:
    """{request key: text} of the questions that were answered before and still pass the rules."""
    answers = load_answers(subject.root / CACHE_FILE)
    keys = {_key(choice, question) for question in questions} & set(answers)
    texts = {key: answers[key]["text"] for key in keys}
    return {key: text for key, text in texts.items() if not text_fault(text, clip_tokens=subject.clip_tokens)}


def _show(questions: Sequence[Question], say: Callable[[str], None]) -> None:
    for question in questions:
        picture = question.picture
        shown = f" with {picture.case} slice {picture.slice} ({len(picture.png)} bytes)" if picture else ""
        say(f"\n--- {question.label}{shown}\n{question_text(question)}")


def _ask_all(
    subject: Subject, choice: ModelChoice, asker: Asker | None, questions: Sequence[Question],
    kept: Mapping[str, str], faults: dict[str, str], attempts: int,
) -> dict[str, list[str]]:  # fmt: skip
    """{class: its new texts}; classes that fail go into `faults` with the reason."""
    file = subject.root / CACHE_FILE
    answers, texts = load_answers(file), {}
    for question in tqdm(questions, desc="describing", unit="text"):
        label, key = question.label, _key(choice, question)
        if label in faults:
            continue
        text = kept.get(key)
        try:
            text = text or ask_for_text(
                asker, question.messages, attempts=attempts, clip_tokens=subject.clip_tokens
            )
        except BadAnswer as fault:
            faults[label] = str(fault)
            texts.pop(label, None)
            continue
        if key not in kept:
            answers[key] = {"label": label, "model": choice.name, "text": text}
            store_answers(file, answers)
        texts.setdefault(label, []).append(text)
    return texts


def _write(subject: Subject, texts: Mapping[str, Sequence[str]], *, append: bool) -> None:
    """All classes' texts, old and new, without repeating one; untouched where nothing changes."""
    old = {name: list(lines) for name, lines in zip(subject.names, subject.texts, strict=True)}
    added = {name: list(dict.fromkeys([*(old[name] if append else []), *texts[name]])) for name in texts}
    new = old | added
    if new != old:
        shutil.copyfile(subject.file, backup_name(subject.file))
        write_texts(subject.file, new)


def _told(faults: Mapping[str, str], count: int) -> str:
    reasons = " ".join(f"'{label}': {fault}" for label, fault in faults.items())
    return (
        f"{len(faults)} of {count} classes keep their old text. {reasons} "
        f'Try again with --classes "{",".join(faults)}", or with another model or --instructions.'
    )
