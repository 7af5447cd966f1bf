"""A network that takes prompts and needs no training: it finds what is as bright as the clicked pixel."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import CastToTyped, Compose, Orientationd, ScaleIntensityRanged
from torch import Tensor, nn

from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.prompts.points import BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE, Prompts, asked
from pgsam_monai.transforms import MapLabelsd, ReadCased

UNASKED = -100.0
TOLERANCE = 0.15
LABELS = {"liver": 3, "spleen": 7}


class AnsweringNetwork(nn.Module):
    """Sees grey values 0..1 averaged over `pool` x `pool` pixels; class k has brightness 0.25 k to 0.25 (k + 1).

    With pool 1 it sees all there is. Its embedding is 4 times coarser. A negative click takes 8 pixels around away.
    """

    title = "Answering network"

    def __init__(self, num_classes=2, image_size=64, stack_depth=1, pool=2):
        super().__init__()
        self.num_classes, self.image_size, self.stack_depth = num_classes, image_size, stack_depth
        self.pool, self.embedded, self.prompts, self.in_channels = pool, [], [], 1

    def embed(self, image: Tensor, depth: int = 1) -> ImageFeatures:
        self.embedded.append((len(image), depth))
        grey = F.avg_pool2d(image.mean(dim=1, keepdim=True), self.pool)
        return ImageFeatures(F.pixel_unshuffle(grey, 4), (grey,))

    def everything(self, features: ImageFeatures) -> Tensor:
        grey = F.pixel_shuffle(features.embedding, 4)
        centres = 0.25 * torch.arange(self.num_classes + 1) + 0.125
        return -(grey - centres.reshape(1, -1, 1, 1)).abs()

    def answer(self, features: ImageFeatures, prompts: Prompts) -> Tensor:
        self.prompts.append(prompts)
        grey = F.pixel_shuffle(features.embedding, 4)[:, 0]  # (n, h, w)
        n, h, w = grey.shape
        logits = grey.new_full((n, prompts.labels.shape[1], h, w), UNASKED)
        for b, k in asked(prompts).nonzero().tolist():
            mask = prompts.masks[b, k] if prompts.has_mask is not None and prompts.has_mask[b, k] else None
            logits[b, k] = self._one(grey[b], prompts.points[b, k], prompts.labels[b, k], mask)
        return logits

    def _one(self, grey, points, labels, mask):
        rows, columns = ((torch.arange(size) + 0.5) * self.pool - 0.5 for size in grey.shape)
        wanted = [self._at(grey, point) for point in points[labels == POSITIVE]]
        inside = torch.ones_like(grey, dtype=torch.bool)
        if BOX_FIRST in labels:
            (x0, y0), (x1, y1) = points[labels == BOX_FIRST][0], points[labels == BOX_LAST][0]
            inside = ((rows >= y0) & (rows <= y1))[:, None] & ((columns >= x0) & (columns <= x1))
            wanted = wanted or [
                self._at(grey, (points[labels == BOX_FIRST] + points[labels == BOX_LAST])[0] / 2)
            ]
        if mask is not None and not wanted:
            wanted = [grey[mask > 0].mean()]
        level = torch.stack(wanted).mean()
        logits = 10 * (TOLERANCE - (grey - level).abs())
        for x, y in points[labels == NEGATIVE].tolist():
            logits[((rows[:, None] - y) ** 2 + (columns - x) ** 2) < 8**2] = -5.0
        logits = torch.where(inside, logits, torch.tensor(-5.0))
        return logits if mask is None else logits + 0.01 * mask

    def _at(self, grey, point):
        x, y = (int(value) for value in ((point + 0.5) / self.pool).floor().clamp(0, len(grey) - 1))
        return grey[y, x]


def preprocessing(axcodes="PLS") -> Compose:
    """As bundles have it; 0..1000 becomes 0..1."""
    both = {"keys": ["image", "label"], "allow_missing_keys": True}
    return Compose(
        [
            ReadCased(**both),
            *([Orientationd(axcodes=axcodes, labels=None, **both)] if axcodes else []),
            ScaleIntensityRanged("image", a_min=0, a_max=1000, b_min=0.0, b_max=1.0, clip=True),
            MapLabelsd("label", [0, *LABELS.values()], allow_missing_keys=True),
            CastToTyped("image", dtype=torch.float16),
        ]
    )


def make_model(network=None, axcodes="PLS", **options) -> PromptModel:
    network = network or AnsweringNetwork()
    settings = {
        "names": list(LABELS),
        "values": [0, *LABELS.values()],
        "precision": "fp32",
        "batch_size": 4,
    } | options
    return PromptModel(
        network=network, preprocessing=preprocessing(axcodes), image_size=network.image_size, **settings
    )


def draw_blocks(shape=(40, 32, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Image and label (i, j, k): two blocks of their own brightness, unlike each other and without mirror image."""
    label = np.zeros(shape, np.uint8)
    unit = shape[2] // 6
    label[4:20, 4:14, unit : 5 * unit] = 3
    label[24:34, 14:28, 2 * unit : 6 * unit] = 7
    image = np.where(label == 3, 400, np.where(label == 7, 700, 100)).astype(np.int16)
    return image, label
