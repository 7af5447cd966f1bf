"""What the user of `pgsam describe` asks for: which model, which classes, from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgsam_monai.base.errors import UserFault, did_you_mean

CASE, SLICE = EACH = ("case", "slice")
"""What texts can be written of, instead of the classes alone."""


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
    pictures: int = 0
    """training slices per class; a vision model writes a text of the class for each"""
    each: str | None = None
    """CASE or SLICE: a vision model writes texts of each, instead of the classes' own"""
    send_to_remote: bool = False
    """allows pictures to leave this machine"""
    dry_run: bool = False
    """print the requests, send and write nothing"""
    append: bool = False
    """keep the current texts beside the new ones"""
    dataset_dir: str | None = None
    """the data set's place if it is not the bundle's own"""

    @property
    def seen(self) -> str:
        """The option by which a model is shown pictures, as typed; '' for none."""
        return f"--each {self.each}" if self.each else "--pictures" if self.pictures else ""


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
    if choice.local and wishes.seen:
        raise UserFault(
            f"{wishes.seen} needs a model that sees; --local models read text only. Serve a vision model on this "
            "machine (vLLM, Ollama, llama.cpp) and name it with --endpoint."
        )
    _check_pictures(wishes)


def _check_pictures(wishes: Wishes) -> None:
    if wishes.pictures < 0:
        raise UserFault(
            f"--pictures is a number of training slices per class, 0 or more, got {wishes.pictures}."
        )
    if wishes.each is not None and wishes.each not in EACH:
        hint = did_you_mean(wishes.each, EACH)
        raise UserFault(f"--each is {' or '.join(EACH)}, got '{wishes.each}'.{hint}")
    if wishes.each and wishes.pictures:
        raise UserFault(
            "--pictures shows training slices for the texts of classes, --each shows every case for its own; give one."
        )


def _check_endpoint(choice: ModelChoice) -> None:
    from pgsam_monai.texts.endpoint import check_address

    check_address(choice.endpoint)
    if not choice.model:
        raise UserFault("--endpoint needs --model NAME, the model's name there.")
