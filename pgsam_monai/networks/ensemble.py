"""Several networks of one task as one: folds and seeds of a network, or of several networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
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
    description what it is trained for and the cases that any member has learnt from. Frozen parameters that members of
    a network have alike, such as those of SAM's encoder, are there once, in memory and in files.

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
            nn.ModuleList([network, *(_copy(network) for _ in range(count - 1))])
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

    @classmethod
    def of(cls, groups: Sequence[Sequence[DescribedNetwork]]) -> Ensemble:
        """An ensemble of the members that there are, by network; it is trained on what any of them was."""
        made = cls([group[0] for group in groups], [1] * len(groups))
        for members, group in zip(made.networks, groups, strict=True):
            members.extend(group[1:])
            for member in group[1:]:
                share_frozen(group[0], member)
        known = [member.trained_on for group in groups for member in group]
        made.trained_on = None if None in known else frozenset().union(*known)
        return made

    def compiled_parts(self) -> list[nn.Module]:
        """As `DescribedNetwork`: those of all members."""
        return [part for members in self.networks for member in members for part in member.compiled_parts()]

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

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Before the members load theirs: who is to share a frozen parameter, and who no longer."""
        for place, members in enumerate(self.networks):
            for number, member in enumerate(members[1:], 1):
                names = [f"{prefix}networks.{place}.{each}." for each in (0, number)]
                _share(
                    members[0],
                    member,
                    lambda name, names=names: _same(*(state_dict.get(n + name) for n in names)),
                )
        super()._load_from_state_dict(state_dict, prefix, *args)

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


def share_frozen(first: nn.Module, other: nn.Module) -> None:
    """Let `other`, a network of the same kind, have the very frozen parameters of `first`, where they are equal."""
    own, others = dict(first.named_parameters()), dict(other.named_parameters())
    _share(first, other, lambda name: _same(own[name], others[name]))


def _share(first: nn.Module, other: nn.Module, is_same: Callable[[str], bool]) -> None:
    """Of the frozen parameters `other` shares those that are the same, and has its own of the rest."""
    theirs = dict(other.named_parameters())
    for name, parameter in first.named_parameters():
        if parameter.requires_grad or theirs[name].requires_grad:
            continue
        if is_same(name):
            _put(other, name, parameter)
        elif theirs[name] is parameter:
            _put(other, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))


def _put(network: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, own = name.rpartition(".")
    setattr(network.get_submodule(owner), own, parameter)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _copy(network: nn.Module) -> nn.Module:
    """A network whose frozen parameters are the other's."""
    frozen = {id(parameter): parameter for parameter in network.parameters() if not parameter.requires_grad}
    return copy.deepcopy(network, frozen)
