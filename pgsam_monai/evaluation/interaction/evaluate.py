"""`pgsam evaluate BUNDLE --interaction`: simulated users on the cases of a bundle, resumable case by case."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, write_text
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import require_files
from pgsam_monai.data.stamp import preprocessing_hash, stamp_sources, stamps_to_json
from pgsam_monai.evaluation.interaction.choice import choose_for_bundle
from pgsam_monai.evaluation.interaction.measure import (
    InteractionSettings,
    clicks_title,
    measure_interaction,
)
from pgsam_monai.evaluation.interaction.results import (
    SCHEMA_VERSION,
    draw_interaction,
    format_interaction,
    write_interaction,
)
from pgsam_monai.evaluation.interaction.scores import OVERALL, CaseScores, kept_case, mean_dice
from pgsam_monai.evaluation.interaction.volume_cases import (
    ANSWERS,
    FORMAT,
    VolumeSettings,
    measure_volumes,
)
from pgsam_monai.evaluation.interaction.volume_results import format_volumes, write_volumes
from pgsam_monai.evaluation.interaction.whole_volume import ClickedStructure
from pgsam_monai.evaluation.unseen import require_unseen
from pgsam_monai.interactive.chosen_way import CORRECTIONS, chosen_way
from pgsam_monai.interactive.model import PromptModel, prompt_model
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.session import EVERYTHING
from pgsam_monai.runtime.engines import OPENVINO, TORCH

CONFIGS = ("train.json", "evaluate.json")


def evaluate_interaction(
    bundle: str | Path,
    settings: InteractionSettings,
    *,
    cases: int | None = None,
    overrides: Mapping[str, object] | None = None,
    say: Callable[[str], None] = print,
    engine: str = TORCH,
) -> None:
    """Measure a trained bundle by clicks in whole volumes and, if its network takes prompts, slice by slice.

    volume_clicks.csv and .json, and interaction.csv, .json and .png are written beside its metrics. Finished cases lie
    in the folders `volume_clicks` and `interaction` there and are taken over while settings, weights, preprocessing and
    the case's files are the same. Of a network that takes prompts both ways that clicks go are measured in whole
    volumes, and the better one is written to the bundle (`choice.choose_for_bundle`), where validation cases chose.

    Args:
        bundle: the bundle's folder.
        settings: what is measured.
        cases: the first so many of the part's labelled cases; None for all.
        overrides: values of train.json and evaluate.json, `part` among them.
        say: hears a line per case, and the tables.
        engine: what encodes slices, see `interactive.model.prompt_model`.

    Raises:
        FileNotFoundError: no bundle, or not trained.
        ValueError: unknown overrides, no labelled case, cases that the network was trained
            on, a number below 1, or a tolerance below 0.
        SystemExit: the data set's files aren't here.
    """
    measured = Bundle.trained(bundle, configs=CONFIGS, overrides=overrides)
    chosen = _choose(measured.content("evaluation_cases"), cases)
    volumes = VolumeSettings(clicks=settings.clicks, tolerance_mm=_tolerance(measured))
    require_files(chosen, measured.content("dataset_dir"))
    require_unseen(chosen, measured.model_file, allowed=measured.content("allow_trained"))
    folder, digest = Path(measured.content("evaluation_dir")), sha256_of(measured.model_file)
    about = {"bundle": measured.name, "part": measured.content("part"), "model_sha256": digest}
    if measured.capabilities.prompts:
        _evaluate_slices(measured, chosen, settings, folder=folder, about=about, engine=engine, say=say)
    found = _evaluate_volumes(measured, chosen, volumes, folder=folder, about=about, engine=engine, say=say)
    if found and measured.capabilities.prompts:
        choose_for_bundle(
            measured, found, names=[case["name"] for case in chosen], overrides=list(overrides or ()), say=say,
            about={"clicks": max(settings.clicks), "model_sha256": digest},
        )  # fmt: skip


def _evaluate_slices(
    measured: Bundle, cases: Sequence[Mapping[str, Any]], settings: InteractionSettings, *, folder: Path,
    about: Mapping[str, Any], engine: str, say: Callable[[str], None],
) -> None:  # fmt: skip
    """What the network itself answers, asked slice by slice."""
    done = measure_cases(
        prompt_model(measured, engine), cases, settings, folder=folder / "interaction",
        weights_hash=about["model_sha256"], say=say,
    )  # fmt: skip
    table, _ = write_interaction(done, folder, settings=settings, about=about)
    figure = draw_interaction(done, settings, folder / "interaction.png")
    say(format_interaction(done, settings))
    say(
        f"Prompts came from the reference (see interaction.json). Per case and class: {table}; figure: {figure}"
    )


def _evaluate_volumes(
    measured: Bundle, cases: Sequence[Mapping[str, Any]], settings: VolumeSettings, *, folder: Path,
    about: Mapping[str, Any], engine: str, say: Callable[[str], None],
) -> list[ClickedStructure]:  # fmt: skip
    """What a user of `Segmenter` and of the server sees: clicks correct what the network found by itself."""
    segmenters = _segmenters(measured, engine)
    one = next(iter(segmenters.values()))
    made_by = [
        about["model_sha256"], *(f"{name}: {each.corrector.source}" for name, each in segmenters.items()),
        settings.tolerance_mm, FORMAT,
    ]  # fmt: skip

    def stamp(case: Mapping[str, Any]) -> str:
        return _stamp(
            one.model, case, InteractionSettings(clicks=settings.clicks), " ".join(map(str, made_by))
        )

    found = measure_volumes(
        segmenters, cases, settings, folder=folder / "volume_clicks", stamp=stamp, say=say
    )
    table = write_volumes(found, settings, folder, about)
    say(
        f"{format_volumes(found, settings)}\nPer case and class: {table}"
        if found
        else "No case holds any class."
    )
    return found


def _segmenters(measured: Bundle, engine: str) -> dict[str, Segmenter]:
    """What results call them -> the ways that clicks can go in a bundle: of one without prompts, as they go."""
    options = {"engine": engine, "background": EVERYTHING}
    if measured.capabilities.prompts:  # the network that slices were measured with: nothing is loaded again
        return {ANSWERS[way]: Segmenter.of(measured, corrections=way, **options) for way in CORRECTIONS}
    # With the way that an answer goes, which stands in inference.json; an ensemble's names no folder of weights.
    own = measured.model_file == measured.folder / "models/model.pt"
    weights = {} if own else {"ckpt_dir": str(measured.model_file.parent)}
    served = Bundle.trained(measured.folder, device=str(measured.device), overrides=weights)
    way = chosen_way(served)
    return {ANSWERS[way]: Segmenter.of(served, corrections=way, **options)}


def measure_cases(
    model: PromptModel,
    cases: Sequence[Mapping[str, Any]],
    settings: InteractionSettings,
    *,
    folder: Path,
    weights_hash: str,
    say: Callable[[str], None] = print,
) -> list[CaseScores]:
    """Scores of every case, in their order; each is kept in `folder` and taken over by the next run.

    Args:
        model: see `measure_interaction`.
        cases: likewise, each with its label.
        settings: likewise.
        folder: a file per case, made if missing.
        weights_hash: of the network's weights; another one has every case measured anew.
        say: hears a line per case measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamps = [_stamp(model, case, settings, weights_hash) for case in cases]
    found = [
        kept_case(folder / f"{case['name']}.json", stamp, CaseScores.from_json)
        for case, stamp in zip(cases, stamps, strict=True)
    ]
    todo = [number for number, scores in enumerate(found) if scores is None]
    if len(todo) < len(cases):
        say(f"{len(cases) - len(todo)} of {len(cases)} cases are measured already.")
    started = time.monotonic()
    for done, number in enumerate(todo, 1):
        case = cases[number]
        with tqdm(unit="slice", desc=f"{case['name']} ({done} of {len(todo)})", leave=False) as bar:

            def progress(slices: int, total: int, bar: tqdm = bar) -> None:
                bar.total = total
                bar.update(slices - bar.n)

            scores = measure_interaction(model, case, settings, progress=progress)
        content = {"stamp": stamps[number], **scores.to_json()}
        write_text(folder / f"{case['name']}.json", json.dumps(content) + "\n")
        found[number], left = scores, len(todo) - done
        minutes = (time.monotonic() - started) / done * left / 60
        say(f"{_line(scores, settings)}; {left} left" + (f", about {minutes:.0f} min" if left else ""))
    return found


def _choose(cases: Sequence[Mapping[str, Any]], count: int | None) -> list[Mapping[str, Any]]:
    labelled = [case for case in cases if case.get("label")]
    if not labelled:
        raise UserFault(
            "evaluate: none of the cases has a label; choose --part validation, or label some cases."
        )
    if count is not None and count < 1:
        raise UserFault(f"evaluate: --cases must be at least 1, got {count}.")
    return labelled[:count]


def _tolerance(measured: Bundle) -> float:
    """Of the surface Dice, checked before anything is measured."""
    tolerance = measured.content("tolerance_mm")
    if not tolerance >= 0:
        raise UserFault(f"evaluate: --tolerance_mm takes a length of at least 0, got {tolerance}.")
    return float(tolerance)


def _stamp(
    model: PromptModel, case: Mapping[str, Any], settings: InteractionSettings, weights_hash: str
) -> str:
    """Changes with everything that the scores depend on."""
    parts = {
        "format": SCHEMA_VERSION,
        "settings": asdict(settings),
        "weights": weights_hash,
        "preprocessing": preprocessing_hash(model.preprocessing, SCHEMA_VERSION),
        "files": [{**row, "mtime_ns": None} for row in stamps_to_json(stamp_sources(case))],
        "model": [
            list(model.names), model.image_size, model.fit, model.stack_overlap, model.precision,
            model.knows_everything, model.trained_with_masks, *([OPENVINO] if model.encoder else []),
        ],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _line(scores: CaseScores, settings: InteractionSettings) -> str:
    """A case's means in one line."""
    if not scores.scores:
        return f"{scores.name}: holds none of the classes"
    means = {row.prompts: row.mean for row in mean_dice([scores]) if row.label == OVERALL}
    told = [clicks_title(number) for number in (min(settings.clicks), max(settings.clicks))]
    told = dict.fromkeys([*told, "box", EVERYTHING])
    return f"{scores.name}: " + ", ".join(f"{what} {means[what]:.3f}" for what in told if what in means)
