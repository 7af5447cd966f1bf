"""What each network declares in its settings.json: what it can do, what it requires, what it puts into the configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pgsam_monai.base.capabilities import Capabilities

FOLDER = Path(__file__).parent


@cache
def settings(network: str) -> Mapping[str, Any]:
    """The contents of networks/<network>/settings.json."""
    return json.loads((FOLDER / network / "settings.json").read_text(encoding="utf-8"))


@cache
def capabilities(network: str) -> Capabilities:
    """What a network can do."""
    return Capabilities.from_json({"network": network, **settings(network)["capabilities"]})
