"""Times fingerprint and plan against nnU-Net and MONAI's DataAnalyzer, in one run, and checks that facts
agree.

    python benchmarks/plan_vs_peers.py DATASET --nnunet VENV/bin

DATASET is the Hippocampus task of the Medical Segmentation Decathlon (any data set that pgsam-plan reads will
do). nnU-Net 2.8.1 wants a virtual environment of its own (python -m venv VENV; VENV/bin/pip install
nnunetv2==2.8.1); DataAnalyzer runs in this one. Everyone gets the same number of processes and starts cold,
as a whole command; the three take turns. The second part generates CT-sized volumes. Prints a table; exit
status 1 if a floor is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from preprocess.fingerprint.cache import cache_path, read_case, source_of  # noqa: E402
from preprocess.fingerprint.dataset import load_fingerprint  # noqa: E402
from preprocess.fingerprint.facts import Fingerprint  # noqa: E402
from preprocess.fingerprint.intensity import Sample  # noqa: E402
from preprocess.layouts import Dataset, find_dataset  # noqa: E402

FLOORS = {"given": 8.0, "ct": 5.0}
"""Times faster than the quicker peer."""
MEMORY_CEILING_GB = 1.5
TOLERANCE = 0.01
"""Relative, for intensity statistics."""
PEERS = ("nnU-Net 2.8.1", "MONAI DataAnalyzer")
OURS = "pgsam-plan"

ANALYZER = """
import json, sys
from monai.apps.auto3dseg import DataAnalyzer
analyzer = DataAnalyzer(sys.argv[1], "/", output_path=sys.argv[2], device="cpu", worker=int(sys.argv[3]))
analyzer.get_all_case_stats()
"""


@dataclass
class Run:
    """What was measured of one contender on one data set."""

    times_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def time_s(self) -> float:
        return statistics.median(self.times_s)


def main() -> int:
    arguments = parse_arguments()
    missed = []
    with tempfile.TemporaryDirectory(prefix="plan-vs-peers-", dir=arguments.scratch) as scratch:
        for part in ("given", "ct"):
            if arguments.part in (part, "both"):
                missed += run_part(part, Path(scratch, part), arguments)
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "dataset", nargs="?", type=Path, help="default: where the tests look for Task04_Hippocampus"
    )
    found = shutil.which("nnUNetv2_extract_fingerprint")
    parser.add_argument(
        "--nnunet", type=Path, default=Path(found).parent if found else None, help="folder of its commands"
    )
    parser.add_argument("--part", choices=("given", "ct", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3, help="turns on DATASET")
    parser.add_argument("--ct_rounds", type=int, default=1)
    parser.add_argument("--ct_volumes", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="where temporary files go (1 GB)")
    arguments = parser.parse_args()
    if arguments.nnunet is None or not (arguments.nnunet / "nnUNetv2_extract_fingerprint").exists():
        parser.error(
            "nnUNetv2_extract_fingerprint was not found; install nnunetv2==2.8.1 into a virtual environment "
            "of its own and pass --nnunet VENV/bin"
        )
    if arguments.dataset is None and arguments.part != "ct":
        from tests.shared_data import SHARED_DATA

        arguments.dataset = SHARED_DATA / "Task04_Hippocampus"
    return arguments


def run_part(part: str, scratch: Path, arguments: argparse.Namespace) -> list[str]:
    """Times all contenders on one data set, prints its tables, and says which floors were missed."""
    folder = (
        arguments.dataset if part == "given" else write_ct_volumes(scratch / "ct_like", arguments.ct_volumes)
    )
    dataset = find_dataset(folder.resolve())
    write_for_peers(dataset, scratch)
    runs = {name: Run() for name in (OURS, *PEERS)}
    for _ in range(arguments.rounds if part == "given" else arguments.ct_rounds):
        for name, run in runs.items():
            time_s, peak = time_commands(commands(name, dataset, scratch, arguments), environment(scratch))
            run.times_s.append(time_s)
            run.peak_bytes = max(run.peak_bytes, peak)
    return report(part, dataset, runs, scratch)


def commands(name: str, dataset: Dataset, scratch: Path, arguments: argparse.Namespace) -> list[list[str]]:
    """What a contender runs, its earlier results removed first."""
    workers = str(arguments.workers)
    if name == OURS:
        shutil.rmtree(scratch / "ours", ignore_errors=True)
        outputs = ["--plans_dir", f"{scratch}/ours/plans", "--bundles_dir", f"{scratch}/ours/bundles"]
        return [
            [sys.executable, "-m", "preprocess.commands.main", dataset.folder, "--workers", workers, *outputs]
        ]
    if name == PEERS[0]:
        shutil.rmtree(scratch / "nnUNet_preprocessed", ignore_errors=True)
        extract, plan = (
            str(arguments.nnunet / f"nnUNetv2_{word}") for word in ("extract_fingerprint", "plan_experiment")
        )
        return [[extract, "-d", "1", "-np", workers, "--no_pbar"], [plan, "-d", "1"]]
    return [
        [sys.executable, "-c", ANALYZER, f"{scratch}/datalist.json", f"{scratch}/datastats.yaml", workers]
    ]


def environment(scratch: Path) -> dict[str, str]:
    folders = {name: str(scratch / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    return {**os.environ, **folders, "PYTHONPATH": str(REPOSITORY)}


def time_commands(calls: list[list[str]], env: dict[str, str]) -> tuple[float, int]:
    """Seconds for all calls one after the other, and the most memory their process trees held at once."""
    peaks, started = [0], time.perf_counter()
    for call in calls:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(call, env=env, stdout=log, stderr=log, cwd=tempfile.gettempdir())
            done = threading.Event()
            watcher = threading.Thread(target=watch_memory, args=(process.pid, peaks, done))
            watcher.start()
            status = process.wait()
            done.set()
            watcher.join()
            if status:
                log.seek(0)
                raise SystemExit(f"{' '.join(call)} failed:\n{log.read().decode()[-3000:]}")
    return time.perf_counter() - started, max(peaks)


def watch_memory(pid: int, peaks: list[int], done: threading.Event) -> None:
    """Appends what the process tree holds, ten times a second."""
    while not done.wait(0.1):
        peaks.append(tree_bytes(pid))


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants (Linux; pages they share are counted for each)."""
    try:
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(tree_bytes(int(child)) for child in (task / "children").read_text().split())
    except (OSError, IndexError):  # it ended meanwhile
        return 0
    return total


def write_for_peers(dataset: Dataset, scratch: Path) -> None:
    """The training cases as nnU-Net's raw layout (links) and as MONAI's datalist."""
    raw = scratch / "nnUNet_raw" / "Dataset001_benchmark"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    cases = [case for case in dataset.cases if case.group == "train"]
    folder = Path(dataset.folder)
    for case in cases:
        for channel, image in enumerate(case.images):
            (raw / "imagesTr" / f"{case.name}_{channel:04d}.nii.gz").symlink_to(folder / image)
        (raw / "labelsTr" / f"{case.name}.nii.gz").symlink_to(folder / case.label)
    names = dataset.channel_names or ("image",)
    labels = dataset.label_names or {"background": 0, **{f"label_{n}": n for n in range(1, 14)}}
    content = {"channel_names": {str(n): name for n, name in enumerate(names)}, "labels": labels}
    content |= {"numTraining": len(cases), "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(content))
    entries = [{"image": f"{folder / case.images[0]}", "label": f"{folder / case.label}"} for case in cases]
    (scratch / "datalist.json").write_text(json.dumps({"training": entries}))


def write_ct_volumes(folder: Path, count: int) -> Path:
    """`count` volumes of 512 x 512 x 150 int16 with noise, air around a body and 13 organs; gzipped."""
    import nibabel

    print(f"generating {count} CT-sized volumes ...", flush=True)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    grid = np.ogrid[-1:1:512j, -1:1:512j, -1:1:150j]
    for number in range(count):
        random = np.random.default_rng(number)
        inside = (grid[0] / 0.75) ** 2 + (grid[1] / 0.55) ** 2 + 0 * grid[2] < 1
        image = np.where(inside, np.int16(40), np.int16(-1000))
        label = np.zeros(image.shape, np.uint8)
        for organ in range(1, 14):
            centre, radii = random.uniform(-0.4, 0.4, 3), random.uniform(0.05, 0.3, 3)
            near = [np.abs(x.ravel() - c) < r for x, c, r in zip(grid, centre, radii, strict=True)]
            box = tuple(slice(n.argmax(), len(n) - n[::-1].argmax()) for n in near)
            local = [x.ravel()[part] for x, part in zip(grid, box, strict=True)]
            mask = sum(((x - c) / r) ** 2 for x, c, r in zip(np.ix_(*local), centre, radii, strict=True)) < 1
            label[box][mask], image[box][mask] = organ, 10 * organ
        image += (20 * random.standard_normal(image.shape, dtype=np.float32)).astype(np.int16)
        affine = np.diag([-random.uniform(0.6, 0.9), -random.uniform(0.6, 0.9), random.uniform(1, 3), 1])
        for kind, voxels in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / kind / f"ct_{number:02d}.nii.gz")
    return folder


def report(part: str, dataset: Dataset, runs: dict[str, Run], scratch: Path) -> list[str]:
    """Prints the tables of one data set; sentences for what was missed."""
    cases = sum(case.group == "train" for case in dataset.cases)
    print(f"\n## {dataset.name}: {cases} cases, {len(runs[OURS].times_s)} turns each\n")
    print("| | seconds (median) | all turns | times ours | peak memory |\n|---|---|---|---|---|")
    for name, run in runs.items():
        turns = ", ".join(f"{time_s:.2f}" for time_s in run.times_s)
        ratio = run.time_s / runs[OURS].time_s
        print(f"| {name} | {run.time_s:.2f} | {turns} | {ratio:.1f} | {run.peak_bytes / 1e9:.2f} GB |")
    ratio = min(runs[name].time_s for name in PEERS) / runs[OURS].time_s
    missed = []
    if ratio < FLOORS[part]:
        missed.append(
            f"{dataset.name}: {ratio:.1f} times faster than the quicker peer, floor {FLOORS[part]:g}"
        )
    if part == "ct" and runs[OURS].peak_bytes > MEMORY_CEILING_GB * 1e9:
        missed.append(f"{dataset.name}: {runs[OURS].peak_bytes / 1e9:.2f} GB, ceiling {MEMORY_CEILING_GB} GB")
    plans = scratch / "ours" / "plans" / dataset.name
    theirs = json.loads(
        (scratch / "nnUNet_preprocessed/Dataset001_benchmark/dataset_fingerprint.json").read_text()
    )
    return missed + compare(dataset, load_fingerprint(plans / "fingerprint.json"), plans / ".facts", theirs)


def compare(dataset: Dataset, ours: Fingerprint, cache: Path, theirs: dict) -> list[str]:
    """Spacings and cropped shapes case by case, intensities per channel; sentences for what differs."""
    cases = sorted((case for case in ours.cases if case.group == "train"), key=lambda case: case.name)
    spacings = [case.spacing[::-1] for case in cases]  # nnU-Net's arrays run k, j, i
    shapes = [case.cropped_shape[::-1] for case in cases]
    missed = []
    if not np.allclose(spacings, theirs["spacings"], rtol=1e-5):
        missed.append(f"{dataset.name}: spacings differ from nnU-Net's")
    if not np.array_equal(shapes, theirs["shapes_after_crop"]):
        missed.append(f"{dataset.name}: cropped shapes differ from nnU-Net's")
    print(f"\nSpacings and cropped shapes of {len(cases)} cases {'DIFFER' if missed else 'equal nnU-Net'}.\n")
    print("| foreground intensity | all voxels | every case alike | nnU-Net | apart |\n|---|---|---|---|---|")
    for channel, exact in enumerate(ours.summary.intensity):
        alike = every_case_alike(dataset, cache, channel)
        for name, value in theirs["foreground_intensity_properties_per_channel"][str(channel)].items():
            apart = abs(alike[name] - value) / max(abs(value), 1e-9)
            print(f"| {name} | {getattr(exact, name):.6g} | {alike[name]:.6g} | {value:.6g} | {apart:.2%} |")
            if apart > TOLERANCE:
                missed.append(f"{dataset.name}: {name} of channel {channel} is {apart:.1%} from nnU-Net's")
    return missed


def every_case_alike(dataset: Dataset, cache: Path, channel: int) -> dict[str, float]:
    """Foreground statistics in which every case weighs the same. That is what nnU-Net estimates, which draws
    an equal number of values from each case; the fingerprint itself counts every voxel once."""
    samples: list[Sample] = []
    for case in dataset.cases:
        entry = read_case(cache_path(case, cache), source_of(case, dataset))
        if entry is not None and case.group == "train" and entry.facts.labels:
            samples.append(entry.load_sample(channel))
    values = np.concatenate([sample.values for sample in samples]).astype(np.float64)
    counts = [np.ones(len(s.values)) if s.counts is None else s.counts for s in samples]
    weights = np.concatenate([count / count.sum() / len(samples) for count in counts])
    mean = float(values @ weights)
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    at = {
        name: float(values[order][np.searchsorted(below, share)])
        for name, share in (("percentile_00_5", 0.005), ("median", 0.5), ("percentile_99_5", 0.995))
    }
    std = float(np.sqrt(np.square(values - mean) @ weights))
    return {"mean": mean, "std": std, "min": float(values.min()), "max": float(values.max()), **at}


if __name__ == "__main__":
    sys.exit(main())
