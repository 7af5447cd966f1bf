"""What MONAI imports only because it is installed is not imported: a command's start takes seconds.

MONAI imports all of itself, and for its TransCheX, for a quarter of that time, transformers, which PEFT brings along.
Here LoRA (through PEFT) and local language models use it, and import it when they do: with LoRA nothing is won.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

NEEDLESS = frozenset({"transformers"})


class _Hidden(MetaPathFinder):
    """Says, as long as `import monai` runs, that these packages are not installed; MONAI does without."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in NEEDLESS and _begun("monai"):
            raise ModuleNotFoundError(f"{fullname} is left out of MONAI's start", name=fullname)


def hide_needless_imports() -> None:
    """For this process, before it imports MONAI; whoever imports these packages later gets them."""
    if not any(isinstance(finder, _Hidden) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hidden())


def _begun(package: str) -> bool:
    """Whether its import has begun and not ended."""
    module = sys.modules.get(package)
    return bool(module and getattr(module.__spec__, "_initializing", False))
