"""The pretrained weights that a bundle names for MONAI's downloads, as its large_files.yml."""

SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything"
LARGE_FILES = {
    "sam_vit_b": (
        f"{SAM_URL}/sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam_vit_l": (
        f"{SAM_URL}/sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam_vit_h": (
        f"{SAM_URL}/sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "medsam_vit_b": (
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        "34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
    ),
    "mobile_sam": (
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    "efficient_sam_ti": (
        "https://raw.githubusercontent.com/yformer/EfficientSAM/main/weights/efficient_sam_vitt.pt",
        "dff858b19600a46461cbb7de98f796b23a7a888d9f5e34c0b033f7d6eb9e4e6a",
    ),
}  # fmt: skip
"""Weights that can be downloaded: address and SHA-256."""


def large_files(weights: str) -> str:
    """The large_files.yml of a bundle that starts from those weights."""
    url, sha256 = LARGE_FILES[weights]
    lines = [
        "large_files:",
        f"- path: weights/{url.rsplit('/', 1)[-1]}",
        f"  url: {url}",
        f"  hash_val: {sha256}",
        "  hash_type: sha256",
    ]
    return "\n".join(lines) + "\n"
