"""The planning decisions: one pure function each, from evidence and what is already decided to value
and reason.

`SHARED_RULES` and `networks.NETWORK_RULES` list them in the order in which they are applied; a rule may read every
earlier decision from `decided`, so a decision that the user overrides carries all that depend on it along.
"""

from collections.abc import Callable, Mapping
from typing import Any

from preprocess.rules import geometry, intensity, labels, mirroring, resources, texts, training
from preprocess.rules.decision import OVERRIDE, RECIPE, RULE, Decision, overridden
from preprocess.rules.evidence import Evidence, Machine, collect_evidence

Rule = Callable[[Evidence, Mapping[str, Any]], Decision]

SHARED_RULES: dict[str, Rule] = {
    "target": resources.choose_target,
    "memory_gb": resources.choose_memory_gb,
    "labels": labels.choose_labels,
    "label_names": labels.choose_label_names,
    "modality": intensity.choose_modality,
    "slice_axis": geometry.choose_slice_axis,
    "orientation": geometry.choose_orientation,
    "mirror": mirroring.choose_mirror,
    "spacing": geometry.choose_spacing,
    "dimension": geometry.choose_dimension,
    "patch_3d": geometry.choose_patch_3d,
    "intensity": intensity.choose_intensity,
    "class_frequencies": labels.choose_class_frequencies,
    "subjects": training.choose_subjects,
    "folds": training.choose_folds,
    "seed": training.choose_seed,
    "postprocessing": labels.choose_postprocessing,
    "texts": texts.choose_texts,
}

__all__ = [
    "OVERRIDE",
    "RECIPE",
    "RULE",
    "Rule",
    "SHARED_RULES",
    "Decision",
    "Evidence",
    "Machine",
    "collect_evidence",
    "overridden",
]
