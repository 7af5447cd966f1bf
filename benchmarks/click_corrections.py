"""How Dice grows when a user corrects what a Med-SA bundle found by itself: by moving the answer, or by asking anew.

    python benchmarks/click_corrections.py bundles/medsa_x --cases 6

The held-out cases of the bundle's fold. On each slice, for each structure in it, a user sees the latest mask and clicks
in the middle of its largest error, up to --clicks times. "pull": `pgsam_monai.interactive.corrections`; "ask": all
clicks so far and the latest answer as a mask go to the network, as in SAM. Prints a Markdown table: 3-D Dice, mean of
the structures and cases, over slices that hold the structure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from pgsam_monai.bundle import Bundle  # noqa: E402
from pgsam_monai.data.splits import select_cases  # noqa: E402
from pgsam_monai.interactive import answers  # noqa: E402
from pgsam_monai.interactive.answers import SliceEmbeddings  # noqa: E402
from pgsam_monai.interactive.corrections import pull  # noqa: E402
from pgsam_monai.interactive.model import prompt_model  # noqa: E402
from pgsam_monai.interactive.volume import Place, make_volume  # noqa: E402
from pgsam_monai.prompts.clicks import next_click  # noqa: E402
from pgsam_monai.prompts.frames import pixels_to_frame  # noqa: E402
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE, point_list  # noqa: E402
from pgsam_monai.transforms.fit import enlarge, on_slices  # noqa: E402

WAYS = ("pull", "ask")


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(1)
    bundle = Bundle.trained(arguments.bundle, device="cpu")
    model, parser = prompt_model(bundle), bundle.parser
    files = select_cases(
        str(arguments.bundle / "configs/splits.json"), arguments.data or parser["dataset_dir"],
        fold=parser["fold"], part="validation",
    )[: arguments.cases]  # fmt: skip
    scores = {way: [] for way in WAYS}
    for case in files:
        data = model.preprocessing({"image": case["image"], "label": case["label"]})
        volume, label = make_volume(model, data["image"]), np.asarray(data["label"])[0]
        embeddings = SliceEmbeddings(model, volume, memory_gb=4)
        for way in WAYS:
            scores[way].append(correct(embeddings, label, way, arguments.clicks))
    print(f"| clicks per slice | {' | '.join(map(str, range(arguments.clicks + 1)))} |")
    print("|---" * (arguments.clicks + 2) + "|")
    for way in WAYS:
        means = np.nanmean(np.stack(scores[way]), axis=(0, 1))
        print(f"| {way} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a trained Med-SA bundle's folder")
    parser.add_argument("--data", help="the data set's folder; the bundle's own by default")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--clicks", type=int, default=4)
    return parser.parse_args()


def correct(embeddings: SliceEmbeddings, label: np.ndarray, way: str, clicks: int) -> np.ndarray:
    """Dice by structure and number of clicks (K, clicks + 1)."""
    classes = len(embeddings.model.names)
    voxels = np.zeros((classes, clicks + 1, 2))  # right, and predicted plus wanted
    for at in range(label.shape[-1]):
        for index in range(1, classes + 1):
            target = label[..., at] == index
            if not target.any():
                continue
            for count, found in enumerate(masks(embeddings, Place(at, index), target, way, clicks)):
                voxels[index - 1, count] += (found & target).sum(), found.sum() + target.sum()
    with np.errstate(invalid="ignore"):
        return 2 * voxels[..., 0] / voxels[..., 1]


def masks(embeddings: SliceEmbeddings, place: Place, target: np.ndarray, way: str, clicks: int) -> list:
    """Masks (H, W) of bool before and after each click."""
    frame, side = embeddings.volume.frame, embeddings.volume.frame.image_size
    everything = answers.ask_everything(embeddings, [place.slice])[0]
    logits = enlarge(answers.against_others(everything)[place.index - 1][None, None], (side, side))[0, 0]
    pixels, kinds, seen = [], [], [_mask(logits, frame)]
    for _ in range(clicks):
        further = next_click(seen[-1], target, clicked=[(y, x) for x, y in pixels])
        if further is not None:
            pixels.append((further.column, further.row))
            kinds.append(POSITIVE if further.positive else NEGATIVE)
            if way == "pull":
                newest = pixels_to_frame(point_list(pixels[-1:], kinds[-1:]), frame)
                logits = pull(logits, newest, frame)
            else:
                points = pixels_to_frame(point_list(pixels, kinds), frame)
                question = answers.SlicePrompt(points=points, mask=logits)
                logits = answers.answer(embeddings, {place: question})[place]
        seen.append(_mask(logits, frame))
    return seen


def _mask(logits: torch.Tensor, frame: object) -> np.ndarray:
    return on_slices(logits[None, None], frame)[0, 0].numpy() > 0


if __name__ == "__main__":
    main()
