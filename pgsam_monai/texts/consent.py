"""What is told before anything is sent, and what isn't sent without leave."""

from __future__ import annotations

from collections.abc import Sequence

from pgsam_monai.base.addresses import is_loopback_url
from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.wishes import ModelChoice, Wishes


def announcement(
    choice: ModelChoice, wishes: Wishes, *, count: int, kept: int, words: Sequence[str], pictures: str
) -> str:
    """How many requests, to whom, and what they hold.

    Args:
        choice: of the model.
        wishes: of the user.
        count: of the requests.
        kept: how many of them were answered before.
        words: what is told in words, instructions apart: "class names", …
        pictures: which pixels are sent, '' for none.
    """
    told = f"{count} request{'s' * (count != 1)}"
    told += f" ({kept} answered before)" if kept else ""
    if choice.local:
        return f"{told} to the model in '{choice.local}' on this machine; nothing is sent."
    if not choice.endpoint:
        return f"{told}; no model is named, nothing is sent."
    from pgsam_monai.texts.endpoint import host_of, read_api_key

    near = is_loopback_url(choice.endpoint)
    key_from = read_api_key(choice.api_key_file)[1]
    parts = [*words, *(["your instructions"] if wishes.instructions else [])]
    parts += [f"the API key from {key_from}"] if key_from else []
    where = "this machine" if near else "another machine"
    lines = [
        f"{told} to model '{choice.model}' at {host_of(choice.endpoint)} ({where}).",
        f"Sent: {', '.join(parts)}; {f'and {pictures}' if pictures else 'no images'}.",
    ]
    if choice.endpoint.startswith("http://") and not near:
        lines.append("The connection is not encrypted (http): whoever carries it can read it.")
    return "\n".join(lines)


def check_permission(choice: ModelChoice, wishes: Wishes, pictures: str) -> None:
    """Raises UserFault when `pictures` (which, in words) would leave this machine without `send_to_remote`."""
    if not (choice.endpoint and pictures) or wishes.send_to_remote or wishes.dry_run:
        return
    from pgsam_monai.texts.endpoint import host_of

    if not is_loopback_url(choice.endpoint):
        raise UserFault(
            f"{wishes.seen} would send {pictures} to {host_of(choice.endpoint)}; "
            "nothing was sent. Add --send_to_remote if the patients' scans, and whatever is burnt into them, may go "
            "there."
        )
