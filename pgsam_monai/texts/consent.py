"""Says what would be sent and to whom, and stops pictures that the user has not released."""

from __future__ import annotations

from collections.abc import Sequence

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.questions import Question
from pgsam_monai.texts.wishes import ModelChoice, Wishes


def announcement(choice: ModelChoice, wishes: Wishes, questions: Sequence[Question], kept: int) -> str:
    """How many requests, to whom, and what they hold; `kept` of them were answered before."""
    count = f"{len(questions)} request{'s' * (len(questions) != 1)}"
    count += f" ({kept} answered before)" if kept else ""
    if choice.local:
        return f"{count} to the model in '{choice.local}' on this machine; nothing is sent."
    if not choice.endpoint:
        return f"{count}; no model is named, nothing is sent."
    from pgsam_monai.texts.endpoint import host_of, is_loopback, read_api_key

    near = is_loopback(choice.endpoint)
    key_from = read_api_key(choice.api_key_file)[1]
    parts = ["class names", "their texts", "modality", "plane"]
    parts += ["your instructions"] if wishes.instructions else []
    parts += [f"the API key from {key_from}"] if key_from else []
    images = f"and {picture_list(questions)}" if wishes.per_image else "no images"
    where = "this machine" if near else "another machine"
    lines = [
        f"{count} to model '{choice.model}' at {host_of(choice.endpoint)} ({where}).",
        f"Sent: {', '.join(parts)}; {images}.",
    ]
    if choice.endpoint.startswith("http://") and not near:
        lines.append("The connection is not encrypted (http): whoever carries it can read it.")
    return "\n".join(lines)


def check_permission(choice: ModelChoice, wishes: Wishes, questions: Sequence[Question]) -> None:
    """Raises UserFault when pictures would leave this machine without `send_to_remote`."""
    if not (choice.endpoint and wishes.per_image) or wishes.send_to_remote or wishes.dry_run:
        return
    from pgsam_monai.texts.endpoint import host_of, is_loopback

    if not is_loopback(choice.endpoint):
        raise UserFault(
            f"--per_image would send {picture_list(questions)} to {host_of(choice.endpoint)}; "
            "nothing was sent. Add --send_to_remote if the patients' scans, and whatever is burnt into them, may go "
            "there."
        )


def picture_list(questions: Sequence[Question]) -> str:
    """Which pictures, for the user's eyes; the case names are not sent."""
    pictures = [question.picture for question in questions if question.picture]
    shown = ", ".join(f"{picture.case} slice {picture.slice} ({picture.label})" for picture in pictures)
    size_kb = sum(len(picture.png) for picture in pictures) / 1000
    return f"the pixels of {len(pictures)} slices of patients' scans ({size_kb:.0f} kB: {shown})"
