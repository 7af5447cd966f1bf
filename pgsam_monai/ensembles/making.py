"""From trained bundles to an ensemble's: read the members, choose out of fold, write the bundle."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.cleaning import FILE as CLEANING
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.locks import hold
from pgsam_monai.base.replacing import backup_name
from pgsam_monai.base.trained_for import planned_in
from pgsam_monai.bundle import Bundle
from pgsam_monai.ensembles.members import Source, read_sources
from pgsam_monai.ensembles.out_of_fold import (
    LEAST_GAIN,
    Candidate,
    Measures,
    candidates,
    choose,
    find_unseen_cases,
    keep_chosen,
    predict_candidates,
)
from pgsam_monai.ensembles.writing import RESULTS, ensemble_files, require_place, write_files
from pgsam_monai.evaluation.after_folds import UNDECIDED, UNKNOWN_VOXELS
from pgsam_monai.evaluation.calibration import calibrate_for_bundle
from pgsam_monai.evaluation.postprocessing import choose_for_bundle
from pgsam_monai.evaluation.predictions import PREDICTIONS
from pgsam_monai.evaluation.soft_dice import FILE as SOFT_DICE
from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.metrics.summary import finite_or_none
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.ensemble import Ensemble
from pgsam_monai.networks.trained import load_trained
from pgsam_monai.predicting.confidence import FILE as CONFIDENCE
from pgsam_monai.training.checkpoints import BEST_MODEL, put_aside, save_checkpoint

RECORD = "configs/ensemble.json"
RESULTS_VERSION = 2
"""of what is kept of each case: since 2 how sure the networks were, too"""
NEITHER = "nothing was measured, and nothing chosen: all networks answer together, with all their members"


@dataclass(frozen=True, kw_only=True)
class Made:
    """An ensemble's bundle on disk."""

    folder: Path
    networks: tuple[str, ...]
    """the bundles whose networks are in it"""
    chosen: Candidate | None
    """None where nothing was measured"""


def make_ensemble(
    words: Sequence[str], output: str | Path, *, text: Callable[[Mapping[str, Any]], str], choosing: bool = True,
    device: str | None = None, dataset_dir: str | None = None, say: Callable[[str], None] = print,
) -> Made:  # fmt: skip
    """Make a bundle whose networks answer together.

    Args:
        words: see `members.read_sources`.
        output: the new bundle's folder; one of an earlier ensemble is written anew.
        text: makes a config's text.
        choosing: measure out of fold which networks are best together, and leave out the others.
        device: where the networks compute; None: a GPU if there is one.
        dataset_dir: where the data set lies now; None: as planned.
        say: hears what was found, chosen and written.

    Raises:
        MissingFile: a bundle or its weights aren't there.
        UserFault: see `members.read_sources`; no case is out of fold for every network; a place that is taken.
        SomeFailed: cases couldn't be predicted; the others' results are kept.
    """
    folder = Path(output)
    sources = read_sources(words, device=device, dataset_dir=dataset_dir)
    require_place(folder, [source.bundle.folder for source in sources])
    for source in sources:
        say(f"{source.name}: {len(source.models)} member{'s' * (len(source.models) > 1)}")
    network = load_members(sources)
    with hold(folder, refusal="wait until it is done"):
        measured = _measure(sources, network, folder, say) if choosing else None
        if measured is None:
            say(NEITHER[0].upper() + NEITHER[1:] + ".")
        places = measured.chosen.networks if measured else tuple(range(len(sources)))
        chosen = [sources[place] for place in places]
        files = ensemble_files(chosen, folder.resolve().name, text)
        put_aside(folder / "models" / BEST_MODEL)  # an earlier ensemble's would seem to be of the new configs
        write_files(folder, files)
        write_text(folder / RECORD, json.dumps(_record(sources, chosen, measured), indent=1) + "\n")
        _decide_by(measured, folder, say)
        _save(Ensemble.of([network.networks[place] for place in places]), folder)
    return Made(
        folder=folder, networks=tuple(source.name for source in chosen), chosen=measured and measured.chosen
    )


def load_members(sources: Sequence[Source]) -> Ensemble:
    """All members of all networks, in evaluation mode, on the first one's device.

    Raises:
        UserFault: weights that aren't of their bundle's network and plan.
    """
    groups = [[_load(source, model) for model in source.models] for source in sources]
    return Ensemble.of(groups).to(sources[0].bundle.device).eval()


def _load(source: Source, model: Path) -> DescribedNetwork:
    member = copy.deepcopy(source.bundle.content("network_def"))
    try:
        load_trained(member, model, planned=source.bundle.planned_for)
    except (UserFault, RuntimeError) as error:
        lines = " ".join(str(error).split())[:400]
        raise UserFault(f"ensemble: '{model}' doesn't fit bundle '{source.name}': {lines}") from error
    return member


@dataclass(frozen=True, kw_only=True)
class _Measured:
    cases: Sequence[Mapping[str, Any]]
    found: Sequence[Candidate]
    chosen: Candidate


def _measure(
    sources: Sequence[Source], network: Ensemble, folder: Path, say: Callable[[str], None]
) -> _Measured:
    members = find_unseen_cases(sources)
    if not members:
        raise UserFault(
            "ensemble: there is no case that a member of every network didn't train on, so it can't be measured which "
            "are best together; train folds (pgsam train BUNDLE --folds all), or say --choose False to take all."
        )
    say(f"{len(members)} cases are out of fold for every network.")
    results = folder / RESULTS
    _claim(results, sources)
    cases = predict_candidates(sources, network, members, results)
    found = candidates(results, list(members), len(sources))
    chosen = choose(found)
    for each in found:
        told = " + ".join(sources[place].name for place in each.networks)
        say(f"{'*' if each is chosen else ' '} Dice {each.dice:.4f}  {told}")
    say(
        f"Chosen (*): the best mean Dice, or fewer networks within {LEAST_GAIN} of it; on these same cases, so its "
        "Dice is a little flattered."
    )
    keep_chosen(chosen, cases, results, Measures.of(sources[0]))
    return _Measured(cases=cases, found=found, chosen=chosen)


def _claim(results: Path, sources: Sequence[Source]) -> None:
    """Stamp the folder of results with what they are of; refuse one of other members."""
    stamp = results / "settings.json"
    own = {"schema_version": RESULTS_VERSION, "networks": [_origin(source) for source in sources]}
    for network in own["networks"]:
        network["members"] = [member["sha256"] for member in network["members"]]  # wherever they lie
    remedy = "delete the folder, or choose another --output"
    if stamp.is_file() and read_json(stamp, remedy=remedy) != own:
        raise UserFault(
            f"ensemble: '{results}' holds results of other networks or weights, or of an older version; {remedy}."
        )
    write_text(stamp, json.dumps(own, indent=1) + "\n")


def _origin(source: Source) -> dict[str, Any]:
    """Which network, and by which bytes."""
    configs = {name: sha256_of(source.bundle.config_file(name)) for name in ("inference.json", "splits.json")}
    models = [
        {"file": _shown(model, source.bundle.folder), "sha256": sha256_of(model)} for model in source.models
    ]
    return {"bundle": source.name, "configs": configs, "members": models}


def _shown(model: Path, folder: Path) -> str:
    """Below its bundle's folder where it lies there."""
    model, folder = model.resolve(), folder.resolve()
    return str(model.relative_to(folder) if model.is_relative_to(folder) else model)


def _record(
    sources: Sequence[Source], chosen: Sequence[Source], measured: _Measured | None
) -> dict[str, Any]:
    """The content of ensemble.json."""
    found = measured.found if measured else ()
    return {
        "schema_version": 1,
        "chosen": [source.name for source in chosen],
        "chosen_on": f"{len(measured.cases)} cases out of fold" if measured else NEITHER,
        "cases": [case["name"] for case in measured.cases] if measured else [],
        "least_gain": LEAST_GAIN,
        "candidates": [
            finite_or_none(
                {
                    "networks": [sources[place].name for place in each.networks],
                    "dice": each.dice,
                    "by_structure": dict(each.by_structure),
                }
            )
            for each in found
        ],
        "networks": [_origin(source) for source in sources],
    }


def _decide_by(measured: _Measured | None, folder: Path, say: Callable[[str], None]) -> None:
    """Choose post-processing, then calibrate which Dice to expect of predictions to which it was done.

    What was decided for an earlier ensemble in the folder is put aside.
    """
    bundle = Bundle(folder)
    cleaning, confidence = files = [bundle.config_file(name) for name in (CLEANING, CONFIDENCE)]
    for file in files:
        if file.is_file():
            file.rename(backup_name(file))
    if measured is None:
        return
    if bundle.config("plan.json")["dataset"].get("ignore") is not None:
        say(f"{UNDECIDED}{UNKNOWN_VOXELS}.")
        return
    results = folder / RESULTS
    choose_for_bundle(bundle, measured.cases, results / PREDICTIONS, file=cleaning, say=say)
    calibrate_for_bundle(
        bundle, measured.cases, results / PREDICTIONS, read_soft_dice(results / SOFT_DICE), cleaning=cleaning,
        file=confidence, say=say,
    )  # fmt: skip


def _save(network: Ensemble, folder: Path) -> None:
    network.trained_for = planned_in(folder)
    save_checkpoint(network.state_dict(), folder / "models" / BEST_MODEL)
