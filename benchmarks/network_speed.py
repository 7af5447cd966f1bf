"""Times PG-SAM beside SAMed in one run: seconds per slice in evaluation mode and per training step, and by part.

    python benchmarks/network_speed.py                  # ViT-B at 224 pixels, on a GPU if there is one
    python benchmarks/network_speed.py --parameters     # how many parameters each part has, and trains

Weights are random, since they don't matter for time. The networks take turns, so that a busy machine slows both;
medians are reported. A training step is what the bundles do: forward under their autocast, their loss, backward,
clipping, AdamW. Evaluation is timed as trained and with adapters merged; the texts are encoded before, as evaluation
encodes them once. Exit status 1 if an evaluation takes 1.6 times SAMed's or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402
from monai.losses import DeepSupervisionLoss, DiceCELoss  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from pgsam_monai.export import merge_for_inference  # noqa: E402
from pgsam_monai.inferers import PrecisionInferer  # noqa: E402
from pgsam_monai.memory import keep_freed_memory  # noqa: E402
from pgsam_monai.networks.pgsam import PGSAM  # noqa: E402
from pgsam_monai.networks.samed import SAMed  # noqa: E402
from pgsam_monai.precision import choose_dtype  # noqa: E402

CEILING = 1.6
"""How many times SAMed's evaluation PG-SAM's may take."""
OURS, BESIDE = "PG-SAM", "SAMed"
PARTS = {
    "image encoder": ("image_encoder.",),
    "prompt encoder": ("prompt_encoder.",),
    "CLIP image tower": ("clip.image_tower.",),
    "CLIP text tower": ("clip.text_tower.",),
    "aligner": ("aligner.",),
    "transformer and tokens": ("mask_decoder.transformer.", "mask_decoder.iou_token.", "mask_decoder.mask_tokens."),
    "upscaling or fusion": ("mask_decoder.upscaling.", "mask_decoder.guided.", "mask_decoder.output_upscaling."),
    "mask optimizer": ("mask_decoder.optimizer.",),
    "hyper-MLPs": ("mask_decoder.output_hypernetworks_mlps.",),
    "quality head": ("mask_decoder.iou_prediction_head.",),
    "the rest": ("",),
}  # fmt: skip
"""Rows of the parameter table and how the names of their parameters start; the first that fits counts."""
Times = dict[str, list[float]]


def main() -> int:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.parameters:
        for size in (224, 512):
            print_parameters(make_networks(arguments, image_size=size), arguments, size)
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {name: network.to(device) for name, network in make_networks(arguments).items()}
    describe_run(arguments, device)
    evaluated, training, parts = time_networks(networks, arguments, device)
    return report(evaluated, training, parts, batch_size=arguments.batch_size)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=4, help="slices per pass")
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5, help="after one that is not counted")
    parser.add_argument("--clip_model", default="ViT-B-32-quickgelu")
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice otherwise")
    parser.add_argument("--parameters", action="store_true", help="print the parameter table instead")
    return parser.parse_args()


def make_networks(arguments: argparse.Namespace, image_size: int | None = None) -> dict[str, nn.Module]:
    """Both as the planner would set them: LoRA where weights were published, all weights trained elsewhere."""
    torch.manual_seed(0)
    shared = {
        "num_classes": arguments.classes, "image_size": image_size or arguments.image_size,
        "backbone": arguments.backbone, "encoder_training": "full" if arguments.backbone == "vit_tiny" else "lora",
    }  # fmt: skip
    texts = [[f"Structure {index} on an axial CT slice."] for index in range(arguments.classes + 1)]
    clip_training = "full" if arguments.clip_model == "clip_tiny" else "lora"
    ours = PGSAM(texts=texts, clip_model=arguments.clip_model, clip_training=clip_training, **shared)
    return {OURS: ours, BESIDE: SAMed(**shared)}


def describe_run(arguments: argparse.Namespace, device: torch.device) -> None:
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    number_type = str(choose_dtype(device) or torch.float32).removeprefix("torch.")
    print(
        f"{arguments.backbone}, {arguments.clip_model}, {arguments.image_size} pixels, {arguments.classes} classes, "
        f"batches of {arguments.batch_size}, {number_type}, {where}, medians of {arguments.turns} turns.\n"
    )


def time_networks(
    networks: dict[str, nn.Module], arguments: argparse.Namespace, device: torch.device
) -> tuple[dict[str, Times], Times, dict[str, Times]]:
    """Seconds of all turns: evaluation by form and network, training steps by network, parts by network."""
    size, batch = arguments.image_size, arguments.batch_size
    image = torch.rand(batch, 1, size, size, device=device)
    label = torch.randint(0, arguments.classes + 1, (batch, 1, size, size), device=device).float()
    steps = {name: make_step(network, image, label) for name, network in networks.items()}
    merged = {name: merge_for_inference(network) for name, network in networks.items()}
    evaluated = {form: {name: [] for name in networks} for form in ("as trained", "merged")}
    training, parts = {name: [] for name in networks}, {name: {} for name in networks}
    for turn in range(arguments.turns + 1):
        for name, network in networks.items():
            seconds = {
                "as trained": time_evaluation(network.eval(), image),
                "merged": time_evaluation(merged[name], image),
            }
            spent = time_parts(merged[name], image)
            step = measure(steps[name], device)
            if turn:  # the first warms up
                training[name].append(step)
                for form, value in seconds.items():
                    evaluated[form][name].append(value)
                for part, value in spent.items():
                    parts[name].setdefault(part, []).append(value)
    return evaluated, training, parts


def make_step(network: nn.Module, image: Tensor, label: Tensor) -> Callable[[], None]:
    """One training step as in a bundle's train.json."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1)
    loss = DeepSupervisionLoss(
        DiceCELoss(
            to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5,
            lambda_ce=0.2, lambda_dice=0.8,
        ),
        weight_mode="same",
    )  # fmt: skip
    infer = PrecisionInferer()

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        loss(infer(image, network), label).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step


@torch.no_grad()
def time_evaluation(network: nn.Module, image: Tensor) -> float:
    return measure(lambda: PrecisionInferer()(image, network), image.device)


def measure(call: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done what `call` asks for."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def time_parts(network: nn.Module, image: Tensor) -> dict[str, float]:
    """Seconds of each part in one evaluation pass, and of encoding the texts, which a pass doesn't do."""
    spent: dict[str, float] = {}
    methods = {
        "image encoder": (network.image_encoder, "encode"),
        "decoder": (network.mask_decoder, "forward"),
    }
    if getattr(network, "aligner", None) is not None:
        methods["CLIP image tower"] = (network.clip, "encode_image")
        methods["aligner"] = (network.aligner, "forward")
    with watched(methods, spent, image.device):
        PrecisionInferer()(image, network)
    if "aligner" in spent:
        tokens = network.texts.tokens
        spent["texts, once per model"] = measure(lambda: network.clip.encode_text(tokens), image.device)
    return spent


@contextmanager
def watched(
    methods: dict[str, tuple[nn.Module, str]], spent: dict[str, float], device: torch.device
) -> Iterator[None]:
    """While it lasts, calls of these modules' methods write their seconds to `spent`."""

    def watch(name: str, method: Callable) -> Callable:
        def call(*given: object, **named: object) -> object:
            kept = []
            spent[name] = measure(lambda: kept.append(method(*given, **named)), device)
            return kept[0]

        return call

    for name, (module, attribute) in methods.items():
        setattr(module, attribute, watch(name, getattr(module, attribute)))
    yield
    for module, attribute in methods.values():
        delattr(module, attribute)  # the class's own is seen again


def report(evaluated: dict[str, Times], training: Times, parts: dict[str, Times], *, batch_size: int) -> int:
    """Prints both tables; 1 if an evaluation is over the ceiling, else 0."""
    print(f"| seconds | {OURS} | {BESIDE} | ratio |\n|---|---|---|---|")
    ratios = {}
    for form, times in evaluated.items():
        medians = {name: statistics.median(values) / batch_size for name, values in times.items()}
        ratios[form] = print_row(f"per slice, evaluation, {form}", medians)
    print_row("per training step", {name: statistics.median(values) for name, values in training.items()})
    print(f"\n| seconds per slice, merged | {OURS} | {BESIDE} |\n|---|---|---|")
    for part in parts[OURS]:
        share = 1 if part.startswith("texts") else batch_size
        cells = [
            f"{statistics.median(parts[name][part]) / share:.4f}" if part in parts[name] else ""
            for name in (OURS, BESIDE)
        ]
        print(f"| {part} | {' | '.join(cells)} |")
    missed = {form: ratio for form, ratio in ratios.items() if ratio >= CEILING}
    for form, ratio in missed.items():
        print(f"MISSED: evaluation {form} takes {ratio:.2f} times {BESIDE}'s, ceiling {CEILING:g}")
    return 1 if missed else 0


def print_row(title: str, medians: dict[str, float]) -> float:
    ratio = medians[OURS] / medians[BESIDE]
    print(f"| {title} | {medians[OURS]:.4f} | {medians[BESIDE]:.4f} | {ratio:.2f} |")
    return ratio


def count_parameters(network: nn.Module) -> dict[str, tuple[int, int]]:
    """By part: all parameters and those that require gradients."""
    counts = {part: (0, 0) for part in PARTS}
    for name, parameter in network.named_parameters():
        part = next(part for part, starts in PARTS.items() if name.startswith(starts))
        total, trained = counts[part]
        counts[part] = total + parameter.numel(), trained + parameter.numel() * parameter.requires_grad
    return counts


def print_parameters(networks: dict[str, nn.Module], arguments: argparse.Namespace, size: int) -> None:
    """A table of millions of parameters, a row per part that either network has."""
    print(
        f"\n{arguments.backbone}, {arguments.clip_model}, {size} pixels, {arguments.classes} classes; millions\n"
    )
    print(f"| part | {OURS} | trained | {BESIDE} | trained |\n|---|---|---|---|---|")
    counts = [count_parameters(networks[name]) for name in (OURS, BESIDE)]
    rows = {part: [value for count in counts for value in count[part]] for part in PARTS}
    rows = {part: values for part, values in rows.items() if any(values)}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for part, values in rows.items():
        print(f"| {part} | {' | '.join(f'{value / 1e6:.3f}' for value in values)} |")


if __name__ == "__main__":
    sys.exit(main())
