"""A trained network's weights as a small file in SAM's own layout, which any network with its backbone starts from."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from safetensors.torch import save_file
from torch import Tensor, nn

from pgsam_monai.base.files import sha256_of, whole
from pgsam_monai.pretraining.network import PromptedSam
from pgsam_monai.training.checkpoints import bare
from pgsam_monai.training.ranks import is_main_process

logger = logging.getLogger(__name__)

_RENAMED = (
    (r"^(image_encoder\..*blocks\.\d+)\.block\.", r"\1."),
    (r"^mask_decoder\.transformer\.blocks\.(\d+)\.block\.", r"mask_decoder.transformer.layers.\1."),
    (r"^mask_decoder\.sam\.", "mask_decoder."),
)
_OWN = re.compile(
    r"^(class_prompts|mask_decoder\.(class_tokens|class_mlps|no_prompt)|pixel_(mean|std)|.*_extra_state)"
)
"""What Med-SA has beside SAM's three parts."""


def sam_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `PromptedSam` → SAM's three parts under SAM's names, float16."""
    found = {}
    for name, value in state.items():
        if not _OWN.match(name):
            for pattern, ours in _RENAMED:
                name = re.sub(pattern, ours, name)
            found[name] = value.detach().to("cpu", torch.float16).contiguous()
    return found


def write_weights(network: PromptedSam, file: Path, *, title: str) -> str:
    """Write `sam_state` as safetensors, whole or not at all; its SHA-256.

    "No mask given", which this network never says, becomes what an empty mask prompt gives, the same at every cell:
    networks without prompts begin with what the decoder knows.

    Raises:
        OSError: no room, or no right to write.
    """
    state = network.state_dict()
    with torch.no_grad():
        empty = network.prompt_encoder.mask_embedding(
            torch.zeros(1, 1, 4, 4, device=network.pixel_mean.device)
        )
    state["prompt_encoder.no_mask_embed.weight"] = empty[:, :, 0, 0]
    about = {
        "title": f"{title}, Apache-2.0"
    }  # several entries come in any order, and the file would have any hash
    with whole(file) as partial:
        save_file(sam_state(state), partial, metadata=about)
    return sha256_of(file)


class WeightsFile:
    """Writes the last network as such a file when training is complete, and says what its hash is."""

    def __init__(self, network: nn.Module, file: str, title: str) -> None:
        self.network, self.file, self.title = network, Path(file), title

    def attach(self, engine: Engine) -> None:
        if is_main_process():
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        digest = write_weights(bare(self.network), self.file, title=self.title)
        logger.info("%s: %d bytes, SHA-256 %s.", self.file, self.file.stat().st_size, digest)
