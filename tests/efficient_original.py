"""EfficientSAM written down from its description, with the names of its checkpoints, small enough for milliseconds."""

import math

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import nn
from torch.nn import functional as F

PAD_TO = 6
"""Tokens that its decoder always gets; those without a point lie at (-1, -1) and have label -1."""


def make_efficient_original(image_size, *, dim=32, heads=2, depth=2):
    torch.manual_seed(0)
    sam = nn.Module()
    sam.image_encoder = Encoder(dim, heads, depth)
    sam.prompt_encoder = Prompts(image_size)
    sam.mask_decoder = Decoder()
    for value in sam.parameters():
        if value.ndim == 1:
            nn.init.normal_(value, std=0.3)
    return sam.eval()


def predict(sam, image, points, labels):
    """Image (B, 3, H, H), points (B, N, 2) in pixels, labels (B, N) → embedding, masks (B, 4, H/4, H/4), quality."""
    padding = (0, PAD_TO - points.shape[1])
    points, labels = F.pad(points, (0, 0, *padding), value=-1.0), F.pad(labels, padding, value=-1)
    embedding = sam.image_encoder(image)
    grid = sam.prompt_encoder.pe_layer.of_grid(embedding.shape[-1])
    return embedding, *sam.mask_decoder(embedding, grid, sam.prompt_encoder(points, labels))


class Mlp(nn.Module):
    """``layers`` linear layers and GELU each, then ``fc``."""

    def __init__(self, channels, hidden, out, layers):
        super().__init__()
        sizes = [channels, *[hidden] * layers]
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairs)
        self.fc = nn.Linear(hidden, out)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        query, key, value = (
            self.attn.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
        x = x + self.attn.proj((weights @ value).transpose(1, 2).flatten(2))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Encoder(nn.Module):
    """A ViT whose position table is that of 224 pixels, a class token's entry first."""

    def __init__(self, dim, heads, depth):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 16, stride=16)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + 14 * 14, dim) / 2)
        self.blocks = nn.ModuleList(EncoderBlock(dim, heads) for _ in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(dim, 256, 1, bias=False), LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False), LayerNorm2d(256),
        )  # fmt: skip

    def forward(self, image):
        patches = self.patch_embed.proj(image)
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
        table = F.interpolate(table, patches.shape[2:], mode="bicubic", align_corners=False)
        tokens = (patches + table).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.neck(tokens.transpose(1, 2).reshape(patches.shape))


class Places(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, 128))

    def forward(self, places):
        """(x, y) in 0..1 → (…, 256)."""
        angle = 2 * math.pi * (2 * places - 1) @ self.positional_encoding_gaussian_matrix
        return torch.cat([angle.sin(), angle.cos()], -1)

    def of_grid(self, side):
        centres = (torch.arange(side) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self(torch.stack([x, y], -1)).permute(2, 0, 1).unsqueeze(0)


class Prompts(nn.Module):
    def __init__(self, image_size):
        super().__init__()
        self.image_size = image_size
        self.pe_layer = Places()
        for name in ("invalid_points", "point", "bbox_top_left", "bbox_bottom_right"):
            setattr(self, name if name == "invalid_points" else f"{name}_embeddings", nn.Embedding(1, 256))

    def forward(self, points, labels):
        kinds = (self.invalid_points, None, self.point_embeddings, self.bbox_top_left_embeddings,
                 self.bbox_bottom_right_embeddings)  # fmt: skip
        nothing = torch.zeros(1, 256)
        table = torch.cat([nothing if kind is None else kind.weight for kind in kinds])
        return self.pe_layer((points + 0.5) / self.image_size) + table[labels + 1]


class DecoderBlock(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first = first
        self.self_attn = Attention(256, 8)
        self.cross_attn_token_to_image = Attention(256, 8, downsample_rate=2)
        self.cross_attn_image_to_token = Attention(256, 8, downsample_rate=2)
        self.mlp = Mlp(256, 2048, 256, 1)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(256) for _ in range(4))

    def forward(self, tokens, image, token_places, image_places):
        if not self.first:
            tokens = tokens + token_places
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens))
        read = self.cross_attn_token_to_image(tokens + token_places, image + image_places, image)
        tokens = self.norm2(tokens + read)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(image + image_places, tokens + token_places, tokens)
        return tokens, self.norm4(image + told)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList([DecoderBlock(True), DecoderBlock(False)])
        self.transformer.final_attn_token_to_image = Attention(256, 8, downsample_rate=2)
        self.transformer.norm_final_attn = nn.LayerNorm(256)
        self.iou_token, self.mask_tokens = nn.Embedding(1, 256), nn.Embedding(4, 256)
        self.final_output_upscaling_layers = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(256, 64, 2, stride=2), nn.GroupNorm(1, 64), nn.GELU()),
                nn.Sequential(nn.ConvTranspose2d(64, 32, 2, stride=2), nn.Identity(), nn.GELU()),
            ]
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(256, 256, 32, 2) for _ in range(4))
        self.iou_prediction_head = Mlp(256, 256, 4, 2)

    def forward(self, embedding, grid, prompts):
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(prompts), -1, -1)
        places = torch.cat([own, prompts], dim=1)
        tokens, image, image_places = (
            places,
            embedding.flatten(2).transpose(1, 2),
            grid.flatten(2).transpose(1, 2),
        )
        for layer in self.transformer.layers:
            tokens, image = layer(tokens, image, places, image_places)
        read = self.transformer.final_attn_token_to_image(tokens + places, image + image_places, image)
        tokens = self.transformer.norm_final_attn(tokens + read)
        upscaled = image.transpose(1, 2).reshape(embedding.shape)
        for layer in self.final_output_upscaling_layers:
            upscaled = layer(upscaled)
        weights = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )
        return torch.einsum("bkc,bchw->bkhw", weights, upscaled), self.iou_prediction_head(tokens[:, 0])
