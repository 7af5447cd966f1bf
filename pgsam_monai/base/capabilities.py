"""What a network can do: declared where it is planned, written into its bundles, read by everything that uses one.

`preprocess/networks/<name>/settings.json` declares; a bundle's `configs/metadata.json` carries it under `METADATA_KEY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

METADATA_KEY = "pgsam_monai"
"""of a bundle's metadata.json"""

SLICES, PATCHES, SEVERAL = "slices", "patches", "several"
CLASS_TEXTS, REQUESTS = "classes", "requests"
ENSEMBLE = "ensemble"
"""the network of a bundle whose members were trained as other bundles' """


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """One network's, as it was planned."""

    network: str
    """its name in plans: "medsa", "dynunet_3d" """
    title: str
    """its name for people: "Med-SA" """
    input: str = SLICES
    """what it is fed with: SLICES, or PATCHES of volumes; SEVERAL: an ensemble's networks each with their own"""
    prompts: bool = False
    """whether it answers clicks, boxes and masks"""
    texts: str | None = None
    """CLASS_TEXTS: it reads a text per class; REQUESTS: it also answers any text; None: it reads none"""
    texts_switch: str | None = None
    """the argument of the network that, set to false, makes it read nothing"""
    stacks: bool = False
    """whether neighbouring slices see each other"""
    guide_maps: bool = False
    """whether it has a prior per class that can be drawn"""

    @property
    def trains(self) -> bool:
        """Whether the bundle itself can be trained."""
        return self.network != ENSEMBLE

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Capabilities:
        """Of a declaration; entries that this version doesn't know are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """As it stands in metadata.json."""
        return asdict(self)
