"""A page of drawn samples: each picture, and beside it the three targets that are asked for, with how a user begins.

    python benchmarks/drawn_samples.py docs/drawn_samples.png
    python benchmarks/drawn_samples.py shapes.png --shapes_share 1 --seed 7
    python benchmarks/drawn_samples.py speed --only_time 2000     # samples per second of one core

Targets are red, green and blue; a white dot is a positive click, a black one a negative click, a frame a box.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pgsam_monai.base.files import whole  # noqa: E402
from pgsam_monai.pretraining.questions import DrawnQuestions  # noqa: E402
from pgsam_monai.prompts.points import BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE  # noqa: E402

ACROSS = 8
COLOURS = ((230, 60, 50), (60, 190, 80), (70, 110, 240))


def main() -> None:
    arguments = read_arguments()
    questions = DrawnQuestions(
        image_size=arguments.image_size, seed=arguments.seed, shapes_share=arguments.shapes_share,
        contrast=arguments.contrast,
    )  # fmt: skip
    if arguments.only_time:
        started = time.process_time()
        for index in range(arguments.only_time):
            questions[index]
        seconds = time.process_time() - started
        print(
            f"{arguments.only_time / seconds:.0f} samples of {arguments.image_size} pixels per second of one core"
        )
        return
    # One of each pair that shows the same slice.
    tiles = [tile(questions[2 * index]) for index in range(arguments.samples)]
    rows = [np.concatenate(tiles[start : start + ACROSS], axis=1) for start in range(0, len(tiles), ACROSS)]
    with whole(arguments.file) as partial:
        Image.fromarray(np.concatenate(rows)).quantize(128).save(partial, format="PNG", optimize=True)
    print(arguments.file)


def tile(sample: dict) -> np.ndarray:
    """(S, 2 S, 3) uint8: the picture, and the picture with its targets."""
    grey = (255 * sample["image"][0].numpy()).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    shown = picture.astype(float)
    for mask, colour in zip(sample["label"].numpy(), COLOURS, strict=True):
        shown[mask > 0] = 0.5 * shown[mask > 0] + 0.5 * np.array(colour)
    marked = Image.fromarray(shown.astype(np.uint8))
    pen = ImageDraw.Draw(marked)
    for points, labels, colour in zip(*sample["prompts"][:2], COLOURS, strict=True):
        corners = {int(kind): tuple(place.tolist()) for place, kind in zip(points, labels, strict=True)}
        if BOX_FIRST in corners:
            pen.rectangle([corners[BOX_FIRST], corners[BOX_LAST]], outline=colour)
        for (x, y), kind in zip(points.tolist(), labels.tolist(), strict=True):
            if kind in (POSITIVE, NEGATIVE):
                pen.ellipse(
                    [x - 2, y - 2, x + 2, y + 2],
                    fill="white" if kind == POSITIVE else "black",
                    outline=colour,
                )
    return np.concatenate([picture, np.asarray(marked)], axis=1)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="PNG to be written")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes_share", type=float, default=0.3, help="of random shapes among them")
    parser.add_argument("--contrast", default="random", help="random or fixed")
    parser.add_argument(
        "--only_time",
        type=int,
        default=0,
        metavar="N",
        help="draw N samples, write nothing, and tell how quickly",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
