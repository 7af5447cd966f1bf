"""The Medical Segmentation Decathlon: dataset.json lists imagesTr/a.nii.gz with labelsTr/a.nii.gz."""

from __future__ import annotations

from dataclasses import replace

from pgsam_monai.base.cases import VOLUME_SUFFIXES
from preprocess.layouts.labelnames import channel_names_from, label_names_from, read_json
from preprocess.layouts.listed import Entry, found_from_entries, parse_entries, unlisted_note
from preprocess.layouts.nnunet import training_base
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import Tree, join, parent_of


def find_decathlon(tree: Tree) -> Found:
    """The listing decides which files belong, others are noted. Test images find their label in labelsTs/.

    Labelled cases listed as "validation", as AMOS22's in imagesVa/ and labelsVa/, are training cases as well.
    """
    base = training_base(tree)
    listing = join(base, "dataset.json")
    if not tree.has(listing):
        raise NoMatch(0.4, f"found {join(base, 'imagesTr')}/ but no dataset.json beside it")
    content = read_json(tree, listing)
    if not isinstance(content, dict) or not content.get("training"):
        raise NoMatch(0.5, f'{listing} lists no "training" cases')
    entries = parse_entries(tree, listing, "training", content["training"], group="train")
    for key in ("validation", "test", "testing"):
        raw = content.get(key) or []
        more = [_with_label(tree, entry) for entry in parse_entries(tree, listing, key, raw, group="test")]
        entries += [_validating(entry) for entry in more] if key == "validation" else more
    names = label_names_from(content.get("labels"), listing)
    found = found_from_entries(tree, listing, entries, names)
    on_disk = [
        path
        for part in ("imagesTr", "labelsTr", "imagesVa", "labelsVa")
        for path in tree.paths(VOLUME_SUFFIXES, join(base, part))
    ]
    return replace(
        found,
        label_names=names,
        channel_names=channel_names_from(content),
        notes=(*found.notes, *unlisted_note(listing, on_disk, entries)),
    )


def _with_label(tree: Tree, entry: Entry) -> Entry:
    """The label of an image of imagesTs/ or imagesVa/ lies in labelsTs/ or labelsVa/, listed or not."""
    folder, _, file = entry.images[0].rpartition("/")
    part = folder[-2:] if folder.endswith(("imagesTs", "imagesVa")) else "Ts"
    label = join(join(parent_of(folder), f"labels{part}"), file)
    return replace(entry, label=label) if entry.label is None and tree.has(label) else entry


def _validating(entry: Entry) -> Entry:
    """A labelled one trains in the other folds; one without label is a test case."""
    return replace(entry, group="train", fold=0) if entry.label else entry
