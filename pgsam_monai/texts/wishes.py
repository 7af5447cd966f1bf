"""What the user of `pgsam describe` asks for: which model, which classes, from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgsam_monai.base.addresses import is_loopback_url
from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.questions import Question


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which language model answers: one behind an endpoint, or one in a folder of this machine."""

    endpoint: str | None = None
    """address, such as http://localhost:11434/v1"""
    model: str | None = None
    """its name at the endpoint"""
    api_key_file: str | None = None
    """file with the key; None: the variable OPENAI_API_KEY, if set"""
    local: str | None = None
    """folder of a transformers model"""

    @property
    def name(self) -> str:
        """What stored answers are filed under; '' without a model."""
        return str(Path(self.local).expanduser().resolve()) if self.local else self.model or ""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What shall be described, and from what."""

    classes: tuple[str, ...] | None = None
    """class names; None: all but the background"""
    instructions: str = ""
    """added to every request"""
    per_image: bool = False
    """a text for each of several training slices, by a vision model"""
    images: int | None = None
    """slices per class; None: 3"""
    send_to_remote: bool = False
    """allows pictures to leave this machine"""
    dry_run: bool = False
    """print the requests, send and write nothing"""
    append: bool = False
    """keep the current texts beside the new ones"""
    dataset_dir: str | None = None
    """the data set's place if it is not the bundle's own"""


def check_wishes(choice: ModelChoice, wishes: Wishes) -> None:
    """Raises UserFault, one sentence, for wishes that contradict each other or name no model."""
    if choice.endpoint and choice.local:
        raise UserFault("describe takes either --endpoint or --local, got both.")
    if not (choice.endpoint or choice.local or wishes.dry_run):
        raise UserFault(
            "describe asks no model of its own accord; name one: --endpoint http://localhost:11434/v1 --model NAME, "
            "or --local FOLDER. --dry_run shows the requests."
        )
    if choice.endpoint:
        _check_endpoint(choice)
    if choice.local and wishes.per_image:
        raise UserFault(
            "--per_image needs a model that sees; --local models read text only. Serve a vision model on this "
            "machine (vLLM, Ollama, llama.cpp) and name it with --endpoint."
        )
    if wishes.images is not None and not (wishes.per_image and wishes.images >= 1):
        raise UserFault(f"--images is the number (1 or more) for --per_image, got {wishes.images}.")


def _check_endpoint(choice: ModelChoice) -> None:
    from pgsam_monai.texts.endpoint import check_address

    check_address(choice.endpoint)
    if not choice.model:
        raise UserFault("--endpoint needs --model NAME, the model's name there.")


def announcement(choice: ModelChoice, wishes: Wishes, questions: Sequence[Question], kept: int) -> str:
    """How many requests, to whom, and what they hold; `kept` of them were answered before."""
    count = f"{len(questions)} request{'s' * (len(questions) != 1)}"
    count += f" ({kept} answered before)" if kept else ""
    if choice.local:
        return f"{count} to the model in '{choice.local}' on this machine; nothing is sent."
    if not choice.endpoint:
        return f"{count}; no model is named, nothing is sent."
    from pgsam_monai.texts.endpoint import host_of, read_api_key

    near = is_loopback_url(choice.endpoint)
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
    from pgsam_monai.texts.endpoint import host_of

    if not is_loopback_url(choice.endpoint):
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
