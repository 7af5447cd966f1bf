"""Med-SA's encoder block: a frozen block of any image encoder, two adapters and a depth branch (Fig. 1b, 1c)."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.adapter import Adapter
from pgsam_monai.networks.medsa.space_depth import build_fusion

POSITIONS = ("attention", "mlp")


class AdaptedBlock(nn.Module):
    """A transformer block with an adapter after its attention, one beside its MLP, and attention across slices."""

    def __init__(
        self, block: nn.Module, *, rank: int, scale: float, positions: Collection[str], depth_fusion: str
    ) -> None:
        """
        Args:
            block: has `dim`, `heads`, `attend_space`, `attend_depth`, `between`, `mlp_norm` and
                `mlp_after_norm` (`sam.attention.Block`, `sam.tiny_vit.TinyBlock`).
            rank: of the adapters.
            scale: s, the factor of the adapter beside the MLP.
            positions: which adapters there are, of `POSITIONS`; may be empty.
            depth_fusion: see `space_depth.build_fusion`.
        """
        super().__init__()
        self.block = block
        self.scale = scale
        self.after_attention = Adapter(block.dim, rank=rank) if "attention" in positions else None
        self.beside_mlp = Adapter(block.dim, rank=rank) if "mlp" in positions else None
        self.fusion = build_fusion(depth_fusion, block.dim, heads=block.heads, rank=rank)

    def forward(self, tokens: Tensor, depth: int = 1) -> Tensor:
        """Tokens (B * depth, H, W, C), slices of a volume one after the other; same shape out."""
        seen = self.block.attend_space(tokens)
        if self.fusion is not None and depth > 1:
            seen = self.fusion(seen, self.block.attend_depth(tokens, depth), depth)
        if self.after_attention is not None:
            seen = seen + self.after_attention(seen)
        tokens = self.block.between(tokens + seen)
        normed = self.block.mlp_norm(tokens)
        moved = self.block.mlp_after_norm(normed)
        if self.beside_mlp is not None:
            moved = moved + self.scale * self.beside_mlp(normed)
        return tokens + moved


def adapt_encoder(
    encoder: nn.Module,
    *,
    rank: int,
    scale: float,
    layers: Collection[int] | None,
    positions: Collection[str],
    depth_fusion: str,
) -> int:
    """Replace each transformer block of `encoder` by an `AdaptedBlock` around it, in place.

    Args:
        encoder: an image encoder whose blocks have `attend_depth`.
        rank: of the adapters.
        scale: s of those beside the MLP.
        layers: the blocks, from 0, that get adapters (Table 7b); None for all.
        positions: which adapters they get (Table 6).
        depth_fusion: how every block, adapted or not, joins slices.

    Returns:
        the number of transformer blocks.

    Raises:
        ValueError: a layer or position that there is not.
    """
    places = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if hasattr(child, "attend_depth")
    ]
    _check_choice(len(places), layers, positions)
    for index, (parent, name, block) in enumerate(places):
        chosen = positions if layers is None or index in layers else ()
        setattr(
            parent,
            name,
            AdaptedBlock(block, rank=rank, scale=scale, positions=chosen, depth_fusion=depth_fusion),
        )
    return len(places)


def _check_choice(blocks: int, layers: Collection[int] | None, positions: Collection[str]) -> None:
    unknown = [index for index in layers or () if not 0 <= index < blocks]
    if unknown:
        raise UserFault(f"adapted_layers must be blocks 0 to {blocks - 1} of this encoder, got {unknown}.")
    strange = [name for name in positions if name not in POSITIONS]
    if strange:
        raise UserFault(f"adapter_positions must be some of {', '.join(POSITIONS)}, got {strange}.")
