"""What the user asked for, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.plan.overrides import Override
from preprocess.recipes import Recipe

DEFAULT_NETWORKS = ("samed",)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for; checked by the command line already."""

    dataset: Path | None = None
    """None plans from the recipe's published facts alone."""
    layout: str | None = None
    name: str | None = None
    networks: tuple[str, ...] | None = None
    """None: the recipe's, or "samed" without one; ("auto",): those that suit the data."""
    recipe: Recipe | None = None
    few_shot: str | None = None
    overrides: tuple[Override, ...] = ()
    skip_faulty: bool = False
    plans_dir: Path = Path("plans")
    bundles_dir: Path = Path("bundles")
    workers: int | None = None

    @property
    def planned_networks(self) -> tuple[str, ...]:
        return self.networks or (self.recipe.networks if self.recipe else DEFAULT_NETWORKS)

    @property
    def wished_few_shot(self) -> str | None:
        return self.few_shot or (self.recipe.few_shot if self.recipe else None)
