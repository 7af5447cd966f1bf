"""Which engine answers: what a user wishes, what was exported, and what was seen to answer as the trained network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.runtime.engines import AUTO, ENGINES, NAMES, ONNXRUNTIME, TORCH, installed, require_engine
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import read_record, stale


def exported_network(
    folder: str | Path, engine: str = AUTO, *, needs_torch: Sequence[str] = ()
) -> ExportedNetwork | None:
    """The exported network that answers for a bundle; None where torch does.

    Args:
        folder: of the bundle.
        engine: `AUTO`, `TORCH` or one of `ENGINES`.
        needs_torch: flags that were given and that torch alone can do.

    Raises:
        MissingFile: no bundle there, or nothing was exported for the engine that is asked for.
        UserFault: that engine isn't here, can't do what is wished, or its network is an older one.
    """
    if engine == AUTO:
        return None if needs_torch or has_gpu() else _verified(folder)
    if engine == TORCH:
        return None
    bundle = Bundle(folder)
    require_engine(engine)
    if needs_torch:
        raise UserFault(f"--engine {engine} can't do {', '.join(needs_torch)}; leave either out.")
    record = read_record(bundle.folder / "models")
    if record is None or engine not in record.engines:
        form = "onnx" if engine == ONNXRUNTIME else engine
        raise MissingFile(
            f"{bundle} has no network for {NAMES[engine]}; write it first: pgsam export {folder} --form {form}"
        )
    reason = stale(record, bundle.folder / "models", bundle.config_file("inference.json"))
    if reason:
        raise UserFault(f"--engine {engine}: {bundle}: {reason}; export it again with pgsam export.")
    return ExportedNetwork(bundle, record, engine)


def _verified(folder: str | Path) -> ExportedNetwork | None:
    record = read_record(Path(folder) / "models")
    agree = [each for each in ENGINES if record and each in record.engines and record.engines[each].verified]
    chosen = next((each for each in agree if installed(each)), None)
    if record is None or chosen is None:
        return None
    bundle = Bundle(folder)
    reason = stale(record, bundle.folder / "models", bundle.config_file("inference.json"))
    if reason:
        tqdm.write(f"note: {bundle}: {reason}; predicted with torch. pgsam export again.", file=sys.stderr)
        return None
    return ExportedNetwork(bundle, record, chosen)


def has_gpu() -> bool:
    """Whether torch might find one, without asking it, which takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
