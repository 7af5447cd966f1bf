"""BIDS: sub-01/[ses-1/]anat/sub-01_ses-1_T1w.nii.gz, with label maps among them or in derivatives/."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pgsam_monai.base.cases import NIFTI_SUFFIXES, stem_of
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.pairing import found_from
from preprocess.layouts.records import CERTAIN, Found, NoMatch
from preprocess.layouts.tree import Tree, join, natural_sorted, parent_of

MASKS = ("mask", "msk", "roi", "lesion")
LABELS = ("dseg", "seg", "segmentation", "label", "labels", *MASKS)
NO_SCANS = (
    "probseg bold sbref epi asl m0scan phasediff phase phase1 phase2 magnitude magnitude1 magnitude2 fieldmap "
    "xfm warp"
).split()
"""films, field maps, probabilities and transforms; dwi is one where its .bval lies beside it"""
NATIVE = ("orig", "native", "individual", "scanner", "T1w")
"""spaces of label maps that are their image's"""

Exam = tuple[str, str, str]
"""(subject, session, run), the last two empty where there is one"""


@dataclass(frozen=True)
class _File:
    path: str
    exam: Exam
    kind: str
    """its name without subject, session and run: T1w, acq-ax_T2w, label-lesion_mask"""

    @property
    def suffix(self) -> str:
        return self.kind.rpartition("_")[2]

    @property
    def name(self) -> str:
        """What the label is of: its label or its description, else the kind."""
        told = re.search(r"(?:^|_)label-([^_]+)", self.kind) or re.search(r"(?:^|_)desc-([^_]+)", self.kind)
        return told[1] if told else self.suffix


def find_bids(tree: Tree) -> Found:
    """Sessions and runs are cases of their own, of one subject.

    The channels are the kinds of image (T1w, acq-ax_T2w, ...) that all labelled examinations have, on the grid of the
    first one's label. Labels of one kind are label maps; masks of several kinds are merged, a structure each.
    """
    files = [file for path in tree.paths(NIFTI_SUFFIXES) if (file := _parsed(tree, path))]
    if not files:
        raise NoMatch(0.0, "no sub-<label>/ with files such as sub-<label>_T1w.nii.gz")
    labels = [file for file in files if file.suffix in LABELS]
    scans = [file for file in files if file.suffix not in LABELS]
    scans = [file for file in scans if "derivatives" not in file.path.split("/")] or scans
    if not labels or not scans:
        what = "label maps (…_dseg or …_mask, also in derivatives/)" if scans else "images"
        raise NoMatch(0.8, f"files of sub-<label>/, but no {what}")
    scans, labels = _with_their_runs(scans, labels)
    chosen, notes = _chosen_labels(labels)
    by_exam = _by_exam(scans)
    held = {exam: own for exam, own in _by_exam(chosen).items() if exam in by_exam}
    if not held:
        raise NoMatch(0.8, f"no label map of an image (for example {scans[0].path} and {chosen[0].path})")
    channels, more = _channels(tree, by_exam, held)
    return _found(tree, by_exam, _by_exam(chosen), channels, (*notes, *more))


def _parsed(tree: Tree, path: str) -> _File | None:
    """A file of a subject's folder, whose name is made of entities and a suffix."""
    parts = stem_of(path).split("_")
    entities = {key: value for key, _, value in (part.partition("-") for part in parts if "-" in part)}
    if not entities.get("sub") or "-" in parts[-1] or f"sub-{entities['sub']}" not in path.split("/"):
        return None
    diffusion = parts[-1] == "dwi" and tree.has(join(parent_of(path), f"{stem_of(path)}.bval"))
    if parts[-1] in NO_SCANS or diffusion:
        return None
    kept = [part for part in parts if not re.match(r"(sub|ses|run)-", part)]
    native = [part for part in kept if part not in {f"space-{space}" for space in NATIVE}]
    return _File(path, (entities["sub"], entities.get("ses", ""), entities.get("run", "")), "_".join(native))


def _with_their_runs(scans: list[_File], labels: list[_File]) -> tuple[list[_File], list[_File]]:
    """A session's only run needs no number; a label without session or run belongs to the subject's only one."""
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    sessions: dict[str, set[str]] = defaultdict(set)
    for file in scans:
        subject, session, run = file.exam
        runs[subject, session].add(run)
        sessions[subject].add(session)

    def settled(file: _File) -> _File:
        subject, session, run = file.exam
        if not session and len(sessions[subject]) == 1:
            session = next(iter(sessions[subject]))
        if len(runs[subject, session] - {""}) <= 1:
            run = ""
        return replace(file, exam=(subject, session, run))

    return [settled(file) for file in scans], [settled(file) for file in labels]


def _by_exam(files: list[_File]) -> dict[Exam, dict[str, _File]]:
    """examination -> kind -> file."""
    found: dict[Exam, dict[str, _File]] = defaultdict(dict)
    for file in files:
        other = found[file.exam].setdefault(file.kind, file)
        if other is not file:
            both = f"{other.path} and {file.path}"
            raise NoMatch(
                CERTAIN, f"the files {both} are both {file.kind} of one examination; move one of them away"
            )
    return dict(found)


def _chosen_labels(labels: list[_File]) -> tuple[list[_File], tuple[str, ...]]:
    """Those of one kind, or masks of several structures; in other spaces, or of the brain, if there is nothing else."""
    kinds = natural_sorted({file.kind for file in labels})
    wanted = kinds
    for is_better in (_is_in_place, _is_no_brain_mask, _is_label_map):
        wanted = [kind for kind in wanted if is_better(kind)] or wanted
    chosen = [file for file in labels if file.kind in wanted]
    masks = all(file.suffix in MASKS for file in chosen) and len({file.name for file in chosen}) == len(
        wanted
    )
    if len(wanted) > 1 and not masks:
        raise NoMatch(
            CERTAIN,
            f"several kinds of label maps: {', '.join(wanted[:6])}; leave one, or write a datalist JSON",
        )
    left = [kind for kind in kinds if kind not in wanted]
    return chosen, (f"labels of other kinds are left out: {', '.join(left[:6])}",) if left else ()


def _is_in_place(kind: str) -> bool:
    return "space-" not in kind


def _is_no_brain_mask(kind: str) -> bool:
    return not re.search(r"(desc|label)-brain(_|$)", kind, re.IGNORECASE)


def _is_label_map(kind: str) -> bool:
    return kind.rpartition("_")[2] not in MASKS


def _channels(
    tree: Tree, scans: dict[Exam, dict[str, _File]], held: dict[Exam, dict[str, _File]]
) -> tuple[list[str], list[str]]:
    """The kinds of image to use, and notes on the others."""
    kinds = natural_sorted({kind for exam in held for kind in scans[exam]})
    common = [kind for kind in kinds if all(kind in scans[exam] for exam in held)]
    if not common:
        counts = ", ".join(f"{kind} in {sum(kind in scans[exam] for exam in held)}" for kind in kinds[:6])
        raise NoMatch(
            CERTAIN,
            f"no kind of image is common to all {len(held)} labelled examinations ({counts}); write a datalist JSON",
        )
    exam = next(iter(held))
    label = next(iter(held[exam].values())).path
    fitting = [kind for kind in common if _on_one_grid(tree, scans[exam][kind].path, label)] or common
    notes = []
    for left, why in (
        ([kind for kind in kinds if kind not in common], "not all labelled examinations have it"),
        ([kind for kind in common if kind not in fitting], f"it isn't on the grid of {label}"),
    ):
        notes += [f"{kind} is no channel: {why}" for kind in left]
    return fitting, notes


def _on_one_grid(tree: Tree, image: str, label: str) -> bool:
    """By their headers; true where one can't be read, which is told when the case is."""
    from pgsam_monai.base.volume import ReadError, read_geometry  # only now: it brings numpy and nibabel
    from pgsam_monai.base.volume.records import apart_mm

    try:
        one, other = (read_geometry(tree.root / path) for path in (image, label))
    except ReadError:
        return True
    return one.shape == other.shape and apart_mm(one.affine, other.affine, one.shape) <= min(one.spacing)


def _found(
    tree: Tree,
    scans: dict[Exam, dict[str, _File]],
    labels: dict[Exam, dict[str, _File]],
    channels: list[str],
    notes: Iterable[str],
) -> Found:
    images = {exam: [own[kind].path for kind in channels if kind in own] for exam, own in scans.items()}
    images = {exam: paths for exam, paths in images.items() if paths}
    keys = {exam: ("train", _case_name(exam)) for exam in images | labels}
    found = found_from(
        {keys[exam]: paths for exam, paths in images.items()},
        {keys[exam]: [next(iter(own.values())).path] for exam, own in labels.items()},
    )
    exams = {keys[exam][1]: exam for exam in images}
    kinds = {kind: file.name for own in labels.values() for kind, file in own.items()}
    values = {name: value for value, name in enumerate(natural_sorted(kinds.values()), start=1)}
    cases = []
    for case in found.cases:
        exam = exams[case.name]
        masks = {str(values[file.name]): file.path for file in labels[exam].values()}
        label = dict(sorted(masks.items(), key=lambda item: int(item[0]))) if len(kinds) > 1 else case.label
        cases.append(replace(case, images=tuple(images[exam]), label=label, subject=f"sub-{exam[0]}"))
    return replace(
        found,
        cases=tuple(cases),
        label_names=read_label_names(tree) or _label_names(tree, list(kinds), values),
        channel_names=tuple(channels),
        notes=(*found.notes, *notes, *_participants(tree, {exam[0] for exam in images})),
    )


def _case_name(exam: Exam) -> str:
    return "_".join(f"{key}-{value}" for key, value in zip(("sub", "ses", "run"), exam, strict=True) if value)


def _label_names(tree: Tree, kinds: list[str], values: dict[str, int]) -> dict[str, int] | None:
    """Of masks by their labels; of a segmentation by a table …dseg.tsv (index, name), if there is one."""
    if not _is_label_map(kinds[0]):
        return {"background": 0, **values}
    tables = [path for path in tree.paths((".tsv",)) if path.endswith("dseg.tsv")]
    for path in sorted(tables, key=lambda path: path.count("/")):
        rows = _table(tree, path)
        told = [(row.get("name"), row.get("index") or "") for row in rows]
        names = {name: int(index) for name, index in told if name and index.isdecimal()}
        if names and len(set(names.values())) == len(names):
            return dict(sorted(names.items(), key=lambda item: item[1]))
    return None


def _participants(tree: Tree, subjects: set[str]) -> list[str]:
    """Where participants.tsv and the folders disagree."""
    path = next(
        (path for path in tree.paths((".tsv",)) if path.rpartition("/")[2] == "participants.tsv"), None
    )
    if path is None:
        return []
    rows = _table(tree, path)
    listed = {(row.get("participant_id") or "").strip().removeprefix("sub-") for row in rows} - {""}
    if not listed:
        return [f"{path} has no column participant_id, or isn't readable: it is left out"]
    notes = []
    both_ways = (
        (subjects - listed, "have images but aren't in"),
        (listed - subjects, "have no images, but are in"),
    )
    for some, what in both_ways:
        if some:
            shown = ", ".join(f"sub-{one}" for one in natural_sorted(some)[:3])
            notes.append(f"{len(some)} subjects {what} {path} ({shown})")
    return notes


def _table(tree: Tree, path: str) -> list[dict[str, str]]:
    """The rows of a table with tabs; none if it can't be read."""
    try:
        text = (tree.root / path).read_text(encoding="utf-8-sig")
        return list(csv.DictReader(text.splitlines(), delimiter="\t"))
    except (OSError, ValueError, csv.Error):
        return []
