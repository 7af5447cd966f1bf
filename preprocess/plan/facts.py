"""What the cases that train were like, for a bundle's training_facts.json: of what was measured, and of the plan."""

from __future__ import annotations

import json
from typing import Any

from pgsam_monai.base.labels import values_of
from pgsam_monai.base.training_facts import read_training_facts
from preprocess.fingerprint.facts import Fingerprint
from preprocess.plan.outputs import PlanFolder
from preprocess.plan.records import Plan
from preprocess.splits.records import Splits


def facts_of(plan: Plan, splits: Splits, fingerprint: Fingerprint) -> dict[str, Any]:
    """Of the cases that any fold trains on."""
    from preprocess.fingerprint.training_facts import training_facts

    names, entries = plan.value("label_names"), plan.value("labels")
    facts = training_facts(
        fingerprint.cases,
        trained={name for fold in splits.folds for name in fold.training},
        classes={name: values_of(entry) for name, entry in zip(names[1:], entries[1:], strict=True)},
        has_millimetres=fingerprint.dataset["file_format"] == "volume",
        scaled_by_percentiles=plan.value("intensity")["scheme"] == "percentile",
    )
    return json.loads(json.dumps(facts.to_json()))


def facts_before(folder: PlanFolder) -> dict[str, Any] | None:
    """As they were written beside a plan whose data aren't at hand; None if they never were.

    Raises:
        DamagedFile: see `read_training_facts`.
    """
    facts = read_training_facts(folder.training_facts)
    return None if facts is None else json.loads(json.dumps(facts.to_json()))
