"""Times PG-SAM or H-SAM beside SAMed in one run: seconds per slice in evaluation, per training step, and by part.

    python benchmarks/network_speed.py                  # PG-SAM, ViT-B at 224 pixels, on a GPU if there is one
    python benchmarks/network_speed.py --network hsam   # H-SAM, also beside its plain fp32 reference
    python benchmarks/network_speed.py --parameters     # how many parameters each part has, and trains

Weights are random, since they don't matter for time. The contenders take turns, so that a busy machine slows all;
medians are reported. A training step is what the bundles do: forward under their autocast, with the label where a
network asks for it, their loss, backward, clipping, AdamW. Evaluation is timed as trained and with adapters merged; the
texts are encoded before, as evaluation encodes them once. "plain fp32" is the same network with the same weights as an
unoptimised implementation runs it, one slice at a time (see `speed/reference.py`); its probabilities are compared with
those of the merged network, once adapters and logits were given a spread as training gives it.

Exit status 1 if PG-SAM's evaluation takes 1.6 times SAMed's or more; or, beside the reference, if evaluation (merged,
the largest batch) isn't 4 times faster, a training step not 2 times, or a probability differs by more than 0.01.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402
from speed.parameters import PARTS, print_parameters  # noqa: E402
from speed.processor import print_arithmetic  # noqa: E402
from speed.reference import evaluate_plainly, liven, make_reference  # noqa: E402
from speed.report import missed_aims, missed_ceiling, print_parts, print_rows  # noqa: E402
from speed.timing import evaluate  # noqa: E402
from speed.turns import Batch, make_contender, make_plain_contender, take_turns  # noqa: E402
from torch import nn  # noqa: E402

from pgsam_monai.networks.precision import choose_dtype  # noqa: E402
from pgsam_monai.networks.samed import SAMed  # noqa: E402
from pgsam_monai.networks.traced import merge_for_inference  # noqa: E402
from pgsam_monai.training.preparing import keep_freed_memory  # noqa: E402

TITLES = {"pgsam": "PG-SAM", "hsam": "H-SAM"}
BESIDE, REFERENCE = "SAMed", "plain fp32"
BATCH_SIZES = {"pgsam": "4", "hsam": "1,8"}
TABLES = {"pgsam": (("", 224), ("", 512)), "hsam": (("", 224), ("", 512), ("vit_l", 224))}
"""Backbone, or else the argument's, and image size of each parameter table."""


def main() -> int:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.parameters:
        print_tables(arguments)
        return 0
    missed = time_networks(arguments, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def time_networks(arguments: argparse.Namespace, device: torch.device) -> list[str]:
    """Prints what was measured; the aims that were missed."""
    ours, batch = TITLES[arguments.network], make_batch(arguments, device)
    networks = {name: network.to(device) for name, network in make_networks(arguments).items()}
    for network in networks.values():
        liven(network, batch.image[:1], spread=arguments.spread)
    describe_run(arguments, device)
    print_arithmetic(networks[BESIDE], batch.image[:1])
    merged = {name: merge_for_inference(network) for name, network in networks.items()}
    contenders = [make_contender(name, networks[name], merged[name], batch) for name in networks]
    difference = None
    if arguments.reference:
        reference = make_reference(networks[ours]).eval()
        difference = compare(merged[ours], reference, batch)
        contenders.append(make_plain_contender(REFERENCE, reference, batch))
    rows, parts = take_turns(contenders, arguments.turns, device)
    most = max(batch.evaluated)
    print_rows(rows, ours, BESIDE, REFERENCE)
    print_parts(parts, rows, [contender.title for contender in contenders], most)
    missed = missed_ceiling(rows, ours, BESIDE) if arguments.network == "pgsam" else []
    if difference is None:
        return missed
    return missed + missed_aims(
        rows, ours, REFERENCE, slices=most, step_batch=batch.trained, difference=difference
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=TITLES, default="pgsam")
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", help="slices per evaluation, such as 1,8; default 4, for H-SAM 1,8")
    parser.add_argument("--step_batch", type=int, default=4, help="slices per training step")
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5, help="after one that is not counted")
    parser.add_argument("--clip_model", default="ViT-B-32-quickgelu")
    parser.add_argument(
        "--class_attention_grid", choices=("fixed", "native"), default="fixed", help="of H-SAM"
    )
    parser.add_argument("--spread", type=float, default=3.0, help="standard deviation of the random logits")
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice otherwise")
    parser.add_argument(
        "--reference", action=argparse.BooleanOptionalAction, help="time the plain reference too; default for H-SAM"
    )  # fmt: skip
    parser.add_argument("--parameters", action="store_true", help="print the parameter tables instead")
    arguments = parser.parse_args()
    if arguments.reference is None:
        arguments.reference = arguments.network == "hsam"
    return arguments


def print_tables(arguments: argparse.Namespace) -> None:
    for backbone, size in TABLES[arguments.network]:
        backbone = backbone or arguments.backbone
        clip = f"{arguments.clip_model}, " if arguments.network == "pgsam" else ""
        heading = f"{backbone}, {clip}{size} pixels, {arguments.classes} classes"
        networks = make_networks(arguments, backbone=backbone, image_size=size)
        print_parameters(networks, PARTS[arguments.network], heading)


def make_batch(arguments: argparse.Namespace, device: torch.device) -> Batch:
    """Noise and random classes, as many slices as the largest batch takes."""
    evaluated = [int(size) for size in str(arguments.batch_size or BATCH_SIZES[arguments.network]).split(",")]
    shape = (max(*evaluated, arguments.step_batch), 1, arguments.image_size, arguments.image_size)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator).to(device)
    label = torch.randint(0, arguments.classes + 1, shape, generator=generator).float().to(device)
    return Batch(image=image, label=label, evaluated=evaluated, trained=arguments.step_batch)


def make_networks(
    arguments: argparse.Namespace, *, backbone: str | None = None, image_size: int | None = None
) -> dict[str, nn.Module]:
    """Both as the planner would set them: LoRA where weights were published, all weights trained elsewhere."""
    torch.manual_seed(0)
    backbone = backbone or arguments.backbone
    shared = {
        "num_classes": arguments.classes, "image_size": image_size or arguments.image_size, "backbone": backbone,
        "encoder_training": "full" if backbone == "vit_tiny" else "lora",
    }  # fmt: skip
    make = {"pgsam": make_pgsam, "hsam": make_hsam}[arguments.network]
    return {TITLES[arguments.network]: make(arguments, shared), BESIDE: SAMed(**shared)}


def make_pgsam(arguments: argparse.Namespace, shared: dict[str, object]) -> nn.Module:
    from pgsam_monai.networks.pgsam import PGSAM

    texts = [[f"Structure {index} on an axial CT slice."] for index in range(arguments.classes + 1)]
    training = "full" if arguments.clip_model == "clip_tiny" else "lora"
    return PGSAM(texts=texts, clip_model=arguments.clip_model, clip_training=training, **shared)


def make_hsam(arguments: argparse.Namespace, shared: dict[str, object]) -> nn.Module:
    from pgsam_monai.networks.hsam import HSAM

    classes = arguments.classes + 1
    return HSAM(
        class_frequencies=[1 / classes] * classes,
        class_attention_grid=arguments.class_attention_grid,
        **shared,
    )


def describe_run(arguments: argparse.Namespace, device: torch.device) -> None:
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    number_type = str(choose_dtype(device) or torch.float32).removeprefix("torch.")
    clip = f"{arguments.clip_model}, " if arguments.network == "pgsam" else ""
    print(
        f"{arguments.backbone}, {clip}{arguments.image_size} pixels, {arguments.classes} classes, "
        f"{number_type}, {where}, medians of {arguments.turns} turns.\n"
    )


@torch.no_grad()
def compare(merged: nn.Module, reference: nn.Module, batch: Batch) -> float:
    """The largest difference of a probability over all slices; printed beside what of it is not the number type's."""
    plain = evaluate_plainly(reference, batch.image).softmax(1)  # (B, K+1, H, W)
    ours = {precision: evaluate(merged, batch.image, precision).softmax(1) for precision in ("auto", "fp32")}
    largest = {precision: (one - plain).abs().max().item() for precision, one in ours.items()}
    surest, classes = plain.amax(1), plain.argmax(1).unique().numel()
    agreeing = (ours["auto"].argmax(1) == plain.argmax(1)).float().mean().item()
    print(
        f"Probabilities of the merged network differ from {REFERENCE}'s by at most {largest['auto']:.5f},\n"
        f"in float32 by at most {largest['fp32']:.1e}; {agreeing:.2%} of the pixels get the same class, one of "
        f"{classes},\nwhich has a probability of {surest.min():.2f} to {surest.max():.2f}.\n"
    )
    return largest["auto"]


if __name__ == "__main__":
    sys.exit(main())
