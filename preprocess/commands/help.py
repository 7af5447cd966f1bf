"""The help of `pgsam-plan`. Names come from files, for importing the tables would take longer than all the rest."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INDENT = " " * 25


def help_text() -> str:
    """What `pgsam-plan --help` shows."""
    slices, volumes = network_names()
    networks = f"of slices: {', '.join(slices)}; of volumes: {', '.join(volumes)}"
    recipes = ", ".join(sorted(file.stem for file in (PACKAGE / "recipes").glob("*.json")))
    return HELP.replace("NETWORKS", _wrapped(networks)).replace("RECIPES", _wrapped(recipes))


def network_names() -> tuple[list[str], list[str]]:
    """Those fed with slices, and those fed with patches of volumes."""
    kinds: dict[str, list[str]] = {"slices": [], "patches": []}
    for file in sorted((PACKAGE / "networks").glob("*/settings.json")):
        capabilities = json.loads(file.read_text(encoding="utf-8"))["capabilities"]
        kinds[capabilities.get("input", "slices")].append(file.parent.name)
    return kinds["slices"], kinds["patches"]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, initial_indent=INDENT, subsequent_indent=INDENT).strip()


HELP = """\
pgsam-plan - look at a data set, decide how to train on it, and write a MONAI bundle that does.

usage
  pgsam-plan DATASET [options]
  pgsam-plan DATASET DATASET --merge [options]     data sets with different labels as one
  pgsam-plan --recipe pgsam_synapse [options]      published settings, no data needed
  pgsam-plan --from_plan plans/NAME/plan.json      after editing that file by hand

DATASET is a folder (or a MONAI datalist JSON). Its layout is recognised: nnU-Net, Medical Segmentation
Decathlon, Synapse/BTCV, TransUNet archives, LA (2018 Atrial Segmentation Challenge, also UA-MT's archives),
PROMISE12, BraTS of every year, ACDC, KiTS, LiTS, MM-WHS, AMOS, REFUGE, BIDS, a mask per
structure (TotalSegmentator and the like), paired folders, pictures with masks, DICOM series.

options
  --target cpu|gpu       plan for this kind of machine         (default: gpu if nvidia-smi lists one)
  --memory_gb N          memory to plan for                    (default: the GPU's, or the RAM)
  --resolution N         input side of the network, e.g. 512   (default: from pixels and structures)
                         for networks of slices; of volumes: --override patch=[128,128,64]
  --backbone NAME        vit_tiny, lite_medsam, mobile_sam, efficient_sam_ti, efficient_sam_s, vit_b, vit_l or vit_h
                         (default: vit_tiny, vit_b or vit_l, from target and memory); refsam3d: vit_mini, vit_b,
                         vit_l, vit_h, efficient_sam_ti, efficient_sam_s (default: vit_mini or vit_b)
  --networks NAMES       one or, as in refsam3d,dynunet_3d, several  (default: samed, or the recipe's)
                         NETWORKS;
                         auto: samed, and refsam3d where slices lie close enough for a 3-D network
  --recipe NAME          published settings:
                         RECIPES;
                         those without published lists draw their cases from your copy of the data
  --few_shot N|P%        train on N cases, or P % of the cases, of each fold: seeded, smaller sets inside
                         larger ones, rare structures first; subjects and all their cases where several cases
                         show one; "slices:10%" draws slices over all training cases, as the papers do
  --subjects FILE|REGEX|none
                         whom each case shows, as no subject may train and validate: a table of cases and
                         subjects (CSV, TSV, JSON), or an expression whose one group names the subject, as in
                         '(patient[0-9]+)_'; they are written to splits.json as they are; none: each case another
                         (default: by BIDS and other layouts, a datalist's "subject", DICOM PatientID, folders per
                         patient, or names such as p1_t0, p1_t1)
  --labelled FILE        which structures were looked for in which case, where not all were in all (partial labels):
                         a table (CSV) whose lines are a case and its structures, case01,spleen,left kidney, or
                         a JSON {"case01": ["spleen", "left kidney"], "siteB_*": ["liver"], "*": ["spleen"]}; a
                         case that no line fits was searched for all. In a datalist JSON an entry says it itself:
                         "labelled_structures": ["spleen"]. The word masks in FILE's place: a structure was looked for
                         where a case has a mask of it. Loss, facts and metrics leave out what nobody looked for
  --merge                plan several data sets as one: labels that mean the same structure, however spelt, are one
                         class; each case counts for the structures of its own data set (see --labelled)
  --override NAME=VALUE  any decision of plan.json; may be given several times
  --skip_faulty          leave out cases with fatal faults and go on; the plan records them
  --layout NAME          force a layout: nnunet, msd, synapse, transunet, la, la_h5, promise12, brats, acdc, kits,
                         lits, mmwhs, refuge, bids, datalist, dicom, structures, pictures, paired
  --name NAME            short name of the data set            (default: from the folder's)
  --from_plan FILE       re-emit from an edited plan.json; edited values are recorded as overrides
  --plans_dir DIR        where plans go                        (default: plans)
  --bundles_dir DIR      where bundles go                      (default: bundles)
  --workers N            processes that read files             (default: from cores and memory)
  --max_gb N             GB that one image may take in memory  (default: a quarter of the free memory)

examples
  pgsam-plan Task04_Hippocampus
  pgsam-plan RawData/Training --target gpu --memory_gb 24 --resolution 512
  pgsam-plan scans --networks samed,pgsam --few_shot 5 --skip_faulty
  pgsam-plan scans --networks refsam3d,dynunet_3d --target gpu --memory_gb 24
  pgsam-plan scans --override "image_size=384" --override "epochs=60"
  pgsam-plan scans --override 'intensity={"scheme":"window","low":-125,"high":275}'

writes plans/NAME/{fingerprint.json,plan.json,splits.json,report.html} and bundles/NETWORK_NAME/. The bundles of
pgsam and refsam3d hold configs/texts.json, a description per structure: edit it, or let `pgsam describe` write it.
exit status: 0 done, 1 the data set has fatal faults or doesn't allow what was asked for, 2 wrong arguments.
"""
