"""Whether a network that reads requests answers what it is asked for: every structure, in every held-out case.

    python benchmarks/ask_in_words.py bundles/refsam3d_phantom
    python benchmarks/ask_in_words.py bundles/refsam3d_phantom --request "where is the {name}?" --cases 3
    python benchmarks/ask_in_words.py bundles/refsam3d_phantom --held_out templates
    python benchmarks/ask_in_words.py bundles/refsam3d_phantom --held_out names
    python benchmarks/ask_in_words.py bundles/refsam3d_phantom --held_out names --words_alone
    python benchmarks/ask_in_words.py bundles/refsam3d_phantom --absent

With `--held_out` it is asked what no training has taught (`networks/refsam3d/requests.py`); a text that means classes
is answered by their masks (`networks/refsam3d/meaning.py`), with `--words_alone` by the request's own mask, with
which what it means still doesn't compete. Each answer is compared with every structure's reference: with the one that
was asked for, and with the one that it resembles most of the others. Beside it stands what the same network finds
when it segments all structures at once. With `--absent` it sees, of every case and structure, only the longest run of
slices that don't show the structure, and is asked for it: every millilitre that it answers is wrong. Prints a table
in Markdown: Dice or millilitres, means over the cases.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402
import yaml  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402

from pgsam_monai.networks.refsam3d.requests import HELD_OUT_TEMPLATES, NAME, other_names  # noqa: E402

LEAST_SLICES = 16
"""without a structure, for it to be asked for there"""


def main() -> None:
    arguments = read_arguments()
    network, inferer, cases, names = load(arguments)
    structures = {name: index for name, index in names.items() if index}
    if arguments.absent:
        print_absent({name: absent_ml(arguments, name, index, network, inferer, cases)
                      for name, index in structures.items()})  # fmt: skip
        return
    together = {name: [] for name in structures}
    answers = {asked: {other: [] for other in structures} for asked in structures}
    for number in range(min(len(cases), arguments.cases or len(cases))):
        image, label = cases[number]["image"].unsqueeze(0).float(), cases[number]["label"]
        network.request = None
        found = inferer(image, network)[0]
        for name, index in structures.items():
            together[name].append(dice_of(found == index, label == index))
        for asked, texts in requests_of(arguments, list(names)).items():
            for network.request in texts:
                found = inferer(image, network)[0] > 0
                for other, index in structures.items():
                    answers[asked][other].append(dice_of(found, label == index))
    print_table(together, answers)


def absent_ml(arguments: argparse.Namespace, name: str, index: int, network, inferer, cases) -> list[float]:
    """Millilitres answered where a structure isn't, one for each case that has enough slices without it."""
    network.request, found = arguments.request.replace(NAME, name), []
    for number in range(min(len(cases), arguments.cases or len(cases))):
        image, label = cases[number]["image"], cases[number]["label"]
        start, stop = longest_run(~(label[0] == index).any(0).any(0))
        if stop - start >= LEAST_SLICES:
            answer = inferer(image[..., start:stop].unsqueeze(0).float(), network)[0] > 0
            voxel_ml = abs(float(torch.linalg.det(image.affine[:3, :3]))) / 1000
            found.append(int(answer.sum()) * voxel_ml)
    return found


def longest_run(flags: torch.Tensor) -> tuple[int, int]:
    """Where the longest run of true entries starts and ends; (0, 0) without any."""
    best = start = stop = 0
    for place, flag in enumerate([*flags.tolist(), False]):
        if flag:
            continue
        if place - best > stop - start:
            start, stop = best, place
        best = place + 1
    return start, stop


def print_absent(answered: dict[str, list[float]]) -> None:
    print("| asked for where it isn't | cases | under 1 ml | ml, mean | most |\n" + "|---" * 5 + "|")
    everything = [ml for each in answered.values() for ml in each]
    for name, each in [*answered.items(), ("all", everything)]:
        if each:
            small = sum(ml < 1 for ml in each)
            print(f"| {name} | {len(each)} | {small} | {statistics.mean(each):.2f} | {max(each):.2f} |")


def requests_of(arguments: argparse.Namespace, names: list[str]) -> dict[str, list[str]]:
    """The texts that ask for each structure; a structure without names that were held out is asked for by its own."""
    templates = HELD_OUT_TEMPLATES if arguments.held_out == "templates" else (arguments.request,)
    held_out = [others.held_out if arguments.held_out == "names" else () for others in other_names(names)]
    return {
        name: [template.replace(NAME, called) for called in others or (name,) for template in templates]
        for name, others in list(zip(names, held_out, strict=True))[1:]
    }


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a trained bundle's folder")
    parser.add_argument("--model", type=Path, help="its model; models/model.pt by default")
    parser.add_argument(
        "--request", default=f"perform {NAME} segmentation", help="with {name} for the class's name"
    )
    parser.add_argument("--held_out", choices=("templates", "names"), help="ask by these instead")
    parser.add_argument("--words_alone", action="store_true", help="answer by the request's own mask")
    parser.add_argument("--absent", action="store_true", help="ask for what isn't there")
    parser.add_argument("--cases", type=int, default=0, help="the first so many; 0 for all")
    parser.add_argument(
        "--set", action="append", default=[], help="of train.json, such as network_def#clip_training=frozen"
    )
    return parser.parse_args()


def load(arguments: argparse.Namespace) -> tuple:
    """Network in evaluation mode, inferer, held-out cases, class names and their indices."""
    parser = ConfigParser()
    parser.read_config(str(arguments.bundle / "configs/train.json"))
    parser.update({"bundle_root": str(arguments.bundle), **dict(map(read_wish, arguments.set))})
    wanted = ("network_def", "inferer", "validate#dataset", "class_indices")
    network, *rest = (parser.get_parsed_content(name) for name in wanted)
    model = arguments.model or arguments.bundle / "models/model.pt"
    network.by_meaning = not arguments.words_alone
    network.load_state_dict(torch.load(model, map_location="cpu", weights_only=True))
    return network.eval(), *rest


def read_wish(wish: str) -> tuple[str, object]:
    name, value = wish.split("=", 1)
    return name, yaml.safe_load(value)


def dice_of(found: torch.Tensor, reference: torch.Tensor) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(found.sum()) + int(reference.sum())
    return 2 * int((found & reference).sum()) / total if total else 1.0


def print_table(together: dict[str, list[float]], answers: dict[str, dict[str, list[float]]]) -> None:
    print(
        "| asked for | Dice with it | with the others, mean | most like another | all at once |\n"
        + "|---" * 5
        + "|"
    )
    rows = []
    for asked, compared in answers.items():
        means = {name: statistics.mean(values) for name, values in compared.items()}
        own, all_at_once = means.pop(asked), statistics.mean(together[asked])
        nearest = max(means, key=means.__getitem__)
        rows.append((own, statistics.mean(means.values()), means[nearest], all_at_once))
        print(
            f"| {asked} | {own:.3f} | {rows[-1][1]:.3f} | {nearest} {means[nearest]:.3f} | {all_at_once:.3f} |"
        )
    own, others, nearest, all_at_once = (statistics.mean(column) for column in zip(*rows, strict=True))
    print(f"| mean | {own:.3f} | {others:.3f} | {nearest:.3f} | {all_at_once:.3f} |")


if __name__ == "__main__":
    main()
