"""Many cases, one after the other: one that fails never stops the rest."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.command_line import end_if_asked
from pgsam_monai.base.errors import UserFault, causes, root_of, system_sentence
from pgsam_monai.bundle import WeightsFault

OF_ALL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE})
"""What the system refuses one case because of, and will refuse the next."""


class SomeFailed(UserFault):
    """Of several cases some failed; the others are done."""

    def __init__(self, done: Sequence[Any], failed: Mapping[str, str], *, what: str = "predicted") -> None:
        self.done, self.failed = list(done), dict(failed)
        lines = "".join(f"\n  {case}: {reason}" for case, reason in failed.items())
        super().__init__(f"{len(done)} of {len(done) + len(failed)} {what}. Failed:{lines}")


def for_each(
    cases: Sequence[Mapping[str, Any]],
    predict: Callable[[Mapping[str, Any]], Path],
    *,
    hear: Callable[[Mapping[str, Any], str], None] | None = None,
) -> list[Path]:
    """What `predict` gives for each case, in their order; `hear` is told of each of several that fails, and why.

    Raises:
        SomeFailed: at the end, if some failed.
        Exception: of the only case; or what will fail every case, such as a full disk.
    """
    done: list[Path] = []
    failed: dict[str, str] = {}
    for case in tqdm(cases, desc="predicting", disable=None):
        try:
            done.append(predict(case))
        except Exception as fault:
            end_if_asked()
            if len(cases) == 1:
                raise
            if _is_of_all(fault):
                raise UserFault(
                    f"{told_shortly(fault)} {len(done)} of {len(cases)} cases were predicted before."
                ) from fault
            reason = failed[_shown(case)] = told_shortly(fault)
            if hear is not None:
                hear(case, reason)
            _free_memory()
    if failed:
        raise SomeFailed(done, failed)
    return done


def require_all(names: Sequence[str], unreadable: Mapping[str, str]) -> None:
    """The last step of a bundle's `inferring`: end the program with one sentence if cases couldn't be read.

    Args:
        names: of all cases.
        unreadable: case -> the reason.

    Raises:
        SystemExit: with that sentence. (Any other exception MONAI would bury below its wrappers and a traceback.)
    """
    if unreadable:
        raise SystemExit(str(SomeFailed([name for name in names if name not in unreadable], unreadable)))


def told_shortly(fault: Exception) -> str:
    """A user's fault as its sentence; one of ours, whose traceback is shown, by its kind."""
    root = root_of(fault)
    if isinstance(root, UserFault):
        return str(root)
    if sentence := system_sentence(fault):
        return sentence
    traceback.print_exception(fault)
    return f"a fault of pgsam-monai ({type(root).__name__}: {root}); please report it, with the lines above."


def _is_of_all(fault: Exception) -> bool:
    return any(
        isinstance(cause, WeightsFault) or (isinstance(cause, OSError) and cause.errno in OF_ALL)
        for cause in causes(fault)
    )


def _shown(case: Mapping[str, Any]) -> str:
    image = case["image"]
    return str(image if isinstance(image, str | Path) else image[0])


def _free_memory() -> None:
    """What a case that was too large for the GPU has left reserved there."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
