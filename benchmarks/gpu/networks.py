"""Every network with random weights, at the size that a GPU is for or one that a CPU bears, and its training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor, nn

from pgsam_monai.inference.slices import PrecisionInferer
from pgsam_monai.training.losses import RequestLoss

CLASSES = 8
TEXTS = [["Background."], *([f"Structure {index} on an axial CT slice."] for index in range(1, CLASSES + 1))]
NAMES = ["background", *(f"structure {index}" for index in range(1, CLASSES + 1))]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large networks and their inputs are."""

    backbone: str
    volume_backbone: str
    clip: str
    side: int
    """pixels of a slice"""
    patch: tuple[int, int, int]
    """voxels (rows, columns, slices)"""
    batch: int
    """slices of a step"""
    volumes: int
    """patches of a step"""


FULL = Size(
    backbone="vit_b", volume_backbone="vit_b", clip="ViT-B-32-quickgelu", side=224, patch=(128, 128, 64), batch=8,
    volumes=2,
)  # fmt: skip
SMALL = Size(
    backbone="vit_tiny",
    volume_backbone="vit_mini",
    clip="clip_tiny",
    side=64,
    patch=(32, 32, 16),
    batch=2,
    volumes=1,
)
VOLUMES = ("refsam3d", "dynunet_3d")
Made = tuple[Callable[..., nn.Module], dict[str, object]]
"""A network's class and its arguments."""


def make_network(name: str, size: Size, *, seed: int = 0, **changed: object) -> nn.Module:
    """A network as bundles have it: LoRA where weights were published, all weights trained elsewhere.

    `changed`: arguments of its class that are otherwise, such as the switches of ablations.
    """
    torch.manual_seed(seed)
    build, arguments = _BUILDERS[name](size)
    return build(**arguments | changed)


def make_batch(name: str, size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noise and random classes: image and label (B, 1, H, W[, D])."""
    volume = name in VOLUMES
    shape = (size.volumes, 1, *size.patch) if volume else (size.batch, 1, size.side, size.side)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=random)
    label = torch.randint(0, CLASSES + 1, shape, generator=random).float()
    return image.to(device), label.to(device)


def make_learning(
    network: nn.Module, image: Tensor, label: Tensor, *, precision: str = "auto"
) -> Callable[[], Tensor]:
    """Forward, the bundles' loss and backward; the loss as it lies on the device."""
    dice_ce = DiceCELoss(
        to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5,
        lambda_ce=0.2, lambda_dice=0.8,
    )  # fmt: skip
    loss = RequestLoss(DeepSupervisionLoss(dice_ce, weight_mode="same"))
    infer = PrecisionInferer(precision)

    def learn() -> Tensor:
        network.train()
        found = loss(infer(image, network, label=label), label)
        found.backward()
        return found.detach()

    return learn


def make_step(
    network: nn.Module, image: Tensor, label: Tensor, *, precision: str = "auto"
) -> Callable[[], Tensor]:
    """A training step as bundles make it: `make_learning`, clipped gradients, AdamW."""
    trained = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1)
    learn = make_learning(network, image, label, precision=precision)

    def step() -> Tensor:
        optimizer.zero_grad()
        found = learn()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return found

    return step


def _sam(size: Size) -> dict[str, object]:
    return {"num_classes": CLASSES, "image_size": size.side, "backbone": size.backbone}


def _plain(size: Size) -> dict[str, object]:
    return {"num_classes": CLASSES, "image_size": size.side}


def _lora(size: Size) -> dict[str, object]:
    return _sam(size) | {"encoder_training": "full" if size.backbone == "vit_tiny" else "lora"}


def _samed(size: Size) -> Made:
    from pgsam_monai.networks.samed import SAMed

    return SAMed, _lora(size)


def _hsam(size: Size) -> Made:
    from pgsam_monai.networks.hsam import HSAM

    return HSAM, _lora(size) | {"class_frequencies": None}


def _pgsam(size: Size) -> Made:
    from pgsam_monai.networks.pgsam import PGSAM

    training = "full" if size.clip == "clip_tiny" else "lora"
    return PGSAM, _lora(size) | {"texts": TEXTS, "clip_model": size.clip, "clip_training": training}


def _medsa(size: Size) -> Made:
    from pgsam_monai.networks.medsa import MedSA

    return MedSA, _sam(size)


def _refsam3d(size: Size) -> Made:
    from pgsam_monai.networks.refsam3d import RefSAM3D
    from pgsam_monai.networks.refsam3d.referring import ReferringTraining

    token = [8, 8, 4] if size.volume_backbone == "vit_mini" else [16, 16, 8]
    return RefSAM3D, {
        "num_classes": CLASSES, "patch": size.patch, "token_size": token, "backbone": size.volume_backbone,
        "window": 4, "texts": TEXTS, "names": NAMES, "clip_model": size.clip, "referring": ReferringTraining(),
    }  # fmt: skip


def _autosam(size: Size) -> Made:
    from pgsam_monai.networks.autosam import AutoSAM

    return AutoSAM, _sam(size)


def _samdecoder(size: Size) -> Made:
    from pgsam_monai.networks.samdecoder import SamDecoder

    return SamDecoder, _sam(size)


def _unet(size: Size) -> Made:
    from pgsam_monai.networks.unet import UNet

    return UNet, _plain(size)


def _unetr(size: Size) -> Made:
    from pgsam_monai.networks.unetr import UNETR

    return UNETR, _plain(size)


def _swinunetr(size: Size) -> Made:
    from pgsam_monai.networks.swinunetr import SwinUNETR

    return SwinUNETR, _plain(size)


def _dynunet(size: Size) -> Made:
    from pgsam_monai.networks.dynunet import DynUNet

    stages = 3 if size is SMALL else 6
    return DynUNet, _plain(size) | {
        "kernels": [3] * stages, "strides": [1] + [2] * (stages - 1),
        "filters": [min(32 * 2**stage, 512) for stage in range(stages)],
    }  # fmt: skip


def _dynunet_3d(size: Size) -> Made:
    from pgsam_monai.networks.dynunet_3d import DynUNet3D

    stages = 3 if size is SMALL else 5
    return DynUNet3D, {
        "num_classes": CLASSES, "patch": size.patch, "kernels": [[3] * 3] * stages,
        "strides": [[1] * 3, *([[2] * 3] * (stages - 1))],
        "filters": [min(32 * 2**stage, 320) for stage in range(stages)],
    }  # fmt: skip


_BUILDERS: dict[str, Callable[[Size], Made]] = {
    "samed": _samed, "hsam": _hsam, "pgsam": _pgsam, "medsa": _medsa, "refsam3d": _refsam3d, "autosam": _autosam,
    "samdecoder": _samdecoder, "dynunet": _dynunet, "dynunet_3d": _dynunet_3d, "unet": _unet, "unetr": _unetr,
    "swinunetr": _swinunetr,
}  # fmt: skip
NETWORKS = tuple(_BUILDERS)
