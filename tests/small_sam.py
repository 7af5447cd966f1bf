"""A SAM small enough to test in milliseconds, in `segment_anything`'s form and in ours."""

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

from pgsam_monai.base.backbones import Vit

SMALL = Vit(embed_dim=32, depth=2, heads=2, global_blocks=(1,), parameters_m=0.1)


def make_original(image_size: int, *, masks: int = 3) -> torch.nn.Module:
    """`segment_anything`'s own three parts at the small sizes, random weights, tables included."""
    torch.manual_seed(0)
    sam = torch.nn.Module()
    sam.image_encoder = ImageEncoderViT(
        img_size=image_size,
        embed_dim=SMALL.embed_dim,
        depth=SMALL.depth,
        num_heads=SMALL.heads,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=SMALL.global_blocks,
    )
    grid = (image_size // 16, image_size // 16)
    sam.prompt_encoder = PromptEncoder(
        embed_dim=256, image_embedding_size=grid, input_image_size=(image_size, image_size), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    sam.mask_decoder = MaskDecoder(transformer_dim=256, transformer=transformer, num_multimask_outputs=masks)
    fill_tables(sam.image_encoder)
    return sam.eval()


def fill_tables(encoder: torch.nn.Module) -> None:
    """Give position tables, which start as zeros, values that matter."""
    for name, value in encoder.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(value, std=0.5)
