"""Several networks of one task as one: folds and seeds of a network, or of several networks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from monai.data import MetaTensor
from torch import Tensor, nn

from pgsam_monai.base.capabilities import ENSEMBLE
from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.slices import plain
from pgsam_monai.networks.traced import TracedMean, log_of_mean


class Ensemble(DescribedNetwork):
    """Networks that answer together; `inference.ensemble.EnsembleInferer` walks each over a volume in its own way.

    Its state dict holds the tensors of all members, each with the description of its network, and beside its own
    description what it is trained for and the cases that any member has learnt from.

    Args:
        networks: one of each kind, in evaluation or training mode.
        members: of each kind how many there are, such as folds; all but the first begin as copies.
    """

    name = ENSEMBLE
    title = "Ensemble"

    def __init__(self, networks: Sequence[DescribedNetwork], members: Sequence[int]) -> None:
        super().__init__()
        if not networks or len(networks) != len(members) or min(members) < 1:
            raise UserFault(
                f"Ensemble: needs networks and for each how many members it has, at least 1; got {len(networks)} "
                f"networks and members {list(members)}."
            )
        if len({(network.num_classes, network.in_channels) for network in networks}) > 1:
            raise UserFault("Ensemble: its networks must have the same number of classes and of channels.")
        self.networks = nn.ModuleList(
            nn.ModuleList([network, *(copy.deepcopy(network) for _ in range(count - 1))])
            for network, count in zip(networks, members, strict=True)
        )
        self.num_classes, self.in_channels = networks[0].num_classes, networks[0].in_channels

    @property
    def description(self) -> dict[str, Any]:
        """What each member is; these have descriptions of their own."""
        return {
            "network": self.name,
            "members": [member.name for members in self.networks for member in members],
        }

    def only(self, places: Sequence[int]) -> Ensemble:
        """An ensemble of some of the networks, whose members are these very ones."""
        chosen = Ensemble([self.networks[place][0] for place in places], [1] * len(places))
        for members, place in zip(chosen.networks, places, strict=True):
            members.extend(self.networks[place][1:])
        chosen.learn_from_members()
        return chosen.train(self.training)

    def forward(self, image: Tensor) -> Tensor:
        """Logarithm of the mean of the members' class probabilities, where all members take the same input.

        Args:
            image: as the one network takes it, (B, C, H, W[, D]).

        Returns:
            float32 (B, K+1, H, W[, D]), a MetaTensor with the image's meta data if the image is one.

        Raises:
            UserFault: members of several networks, which see a volume at different resolutions.
        """
        pixels = plain(image)
        logits = log_of_mean([member(pixels) for member in self._alike()])
        return MetaTensor(logits).copy_meta_from(image) if isinstance(image, MetaTensor) else logits

    def learn_from_members(self) -> None:
        """Be trained on whatever any member was trained on; unknown where one of them doesn't know."""
        known = [member.trained_on for members in self.networks for member in members]
        self.trained_on = None if None in known else frozenset().union(*known)

    def _alike(self) -> list[nn.Module]:
        if len(self.networks) > 1:
            raise UserFault(
                "This ensemble has members of several networks, each with its own input, and is no single function of "
                "one tensor; export the bundles of its networks one by one, or use pgsam predict."
            )
        return list(self.networks[0])

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script`, and thus MONAI's `ckpt_export`, exports in this network's place."""
        return TracedMean([member.__prepare_scriptable__() for member in self._alike()])
