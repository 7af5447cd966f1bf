"""A network that takes prompts, and what belongs to it: how images enter it, and what its classes are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.labels import Entry, restored_values

PROMPT_METHODS = ("embed", "answer", "everything")


@dataclass(frozen=True, kw_only=True)
class PromptModel:
    """All that interactive segmentation needs to know of a network."""

    network: nn.Module
    """with ``embed``, ``answer``, ``everything`` and ``stack_depth`` (see ``networks.medsa.MedSA``)"""
    preprocessing: Compose
    """as in bundles: reads {"image", "label"} first, then only turns and flips volumes and scales intensities"""
    names: Sequence[str]
    """of the foreground classes 1..K"""
    values: Sequence[Entry]
    """of all classes in label files, the background first (`transforms.MapLabelsd`)"""
    image_size: int
    """side of the network's square input, pixels"""
    fit: str = "pad"
    """"pad" or "stretch" (`transforms.fit`)"""
    batch_size: int = 8
    """slices encoded, or prompts answered, at a time"""
    stack_overlap: int = 0
    """slices that stacks of a network with ``stack_depth`` above 1 share (`transforms.stacks`)"""
    precision: str = "auto"
    """what the network computes in, see `inference.precision.choose_dtype`"""
    device: torch.device = torch.device("cpu")
    source: str = "The network"
    """what messages call it"""
    knows_everything: bool = True
    """whether it was trained to find its classes without prompts"""
    trained_with_masks: bool = True
    """whether it was trained with masks, such as its own earlier answers, as prompts"""

    @property
    def labels(self) -> dict[str, int]:
        """Foreground names -> the values that predictions hold, in the order of the classes 1..K."""
        return dict(zip(self.names, restored_values(self.values)[1:], strict=True))

    def index_of(self, label: str | int | None) -> int:
        """Class index 1..K of a name or a label value; None stands for the only class.

        Raises:
            ValueError: unknown, with the nearest names; or None where there are several.
        """
        names, values = list(self.labels), list(self.labels.values())
        if label is None and len(names) == 1:
            return 1
        if isinstance(label, str) and label in names:
            return names.index(label) + 1
        if not isinstance(label, str) and label in values:
            return values.index(label) + 1
        known = ", ".join(f"{name} ({value})" for name, value in self.labels.items())
        if label is None:
            raise UserFault(f"{self.source} has several labels, say which is meant: {known}.")
        hint = did_you_mean(label, names, cutoff=0.5)
        raise UserFault(f"{self.source} has no label {label!r}; it has {known}.{hint}")


def require_prompts(network: nn.Module, *, source: str) -> None:
    """Raise ValueError if the network takes no prompts; `source` is what the message calls it."""
    if not all(hasattr(network, method) for method in PROMPT_METHODS):
        kind = getattr(network, "title", type(network).__name__)
        raise UserFault(
            f"{source} takes no clicks and no boxes: its network is {kind}, which segments without prompts; use a "
            "bundle planned with --networks medsa."
        )


def load_bundle(bundle: str | Path, device: str | None = None) -> PromptModel:
    """The trained network of a bundle, with the preprocessing of its inference.json.

    Args:
        bundle: the bundle's folder; its models/model.pt must exist.
        device: "cpu", "cuda", …; by default a GPU if there is one.

    Raises:
        FileNotFoundError: no bundle there, or not trained yet.
        ValueError: its network takes no prompts.
    """
    from pgsam_monai.predicting.predict import bundle_folder, read_decisions, read_inference

    root = bundle_folder(bundle)
    parser = read_inference(root, device)
    plan = read_decisions(root)
    return model_of_config(
        parser,
        names=plan["label_names"][1:],
        checkpoint=root / "models/model.pt",
        source=f"Bundle '{root}'",
    )


def model_of_config(
    parser: ConfigParser, *, names: Sequence[str], checkpoint: Path, source: str
) -> PromptModel:
    """The model that a bundle's config describes, with a checkpoint's weights.

    Args:
        parser: of inference.json, or of train.json and evaluate.json.
        names: of the foreground classes 1..K.
        checkpoint: the network's state dict, loaded strictly.
        source: what messages call the model.

    Raises:
        ValueError: the network takes no prompts.
    """
    from pgsam_monai.weights.files import load_weights

    definition = parser.get_parsed_content("network_def")
    require_prompts(definition, source=source)
    definition.load_state_dict(load_weights(checkpoint))
    device = torch.device(parser.get_parsed_content("device"))
    return describe_model(definition.to(device).eval(), parser, names=names, source=source)


def describe_model(
    network: nn.Module, parser: ConfigParser, *, names: Sequence[str], source: str
) -> PromptModel:
    """As ``model_of_config``, of a network that is loaded already and lies on its device."""
    inferer = parser.get_parsed_content("inferer")
    return PromptModel(
        network=network,
        preprocessing=parser.get_parsed_content("preprocessing"),
        names=names,
        values=parser.get_parsed_content("labels"),
        image_size=inferer.image_size,
        fit=inferer.fit,
        batch_size=inferer.batch_size,
        stack_overlap=inferer.stack_overlap,
        precision=inferer.precision,
        device=torch.device(parser.get_parsed_content("device")),
        source=source,
    )
