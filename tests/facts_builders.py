"""Small data sets to measure, and facts written by hand to check."""

import dataclasses

import numpy as np
from dataset_builders import OBLIQUE, write_volume

from preprocess.checks import check_dataset, format_faults
from preprocess.fingerprint.facts import CaseFacts, ChannelFacts, Intensity, LabelFacts
from preprocess.layouts import Case, Dataset


def dataset_of(folder, *cases, **changes):
    fields = dict(name="tiny", folder=str(folder), layout="paired", file_format="volume", cases=tuple(cases))
    return Dataset(**{**fields, **changes})


def add_case(folder, name, image, label, affine=OBLIQUE):
    write_volume(folder / "images" / f"{name}.nii.gz", image, affine)
    write_volume(folder / "labels" / f"{name}.nii.gz", label, affine)
    return Case(name=name, images=(f"images/{name}.nii.gz",), label=f"labels/{name}.nii.gz")


def four_cases(folder):
    """Four cases of 6 x 5 x 4 voxels; case n has 2 n + 2 voxels of label 1, with values 10 n, 10 n + 1,
    ..."""
    cases = []
    for n in range(4):
        image = np.full((6, 5, 4), -7, np.int16)
        label = np.zeros((6, 5, 4), np.uint8)
        label[1 : n + 2, 1:3, 2] = 1
        image[label > 0] = 10 * n + np.arange(2 * n + 2)
        cases.append(add_case(folder, f"case_{n}", image, label))
    return dataset_of(folder, *cases)


LABEL = LabelFacts(
    voxels=10,
    volume_ml=1.0,
    components=1,
    extent_px=(2, 2, 2),
    extent_mm=(2.0, 2.0, 2.0),
    in_plane_px=(2.0, 2.0, 2.0),
    in_plane_mm=(2.0, 2.0, 2.0),
    slices=(0.5, 0.5, 0.5),
)


def channel(seed=0, **changes):
    histogram = tuple(int(n) for n in np.random.default_rng(seed).integers(1, 99, 64))
    return dataclasses.replace(ChannelFacts(min=0.0, max=100.0, mean=50.0, histogram=histogram), **changes)


def values(low=10.0, high=90.0):
    return Intensity(
        count=10,
        mean=50.0,
        median=50.0,
        std=5.0,
        min=low,
        max=high,
        percentile_00_5=low,
        percentile_99_5=high,
    )


def rows(affine):
    return tuple(tuple(float(x) for x in row) for row in affine)


def facts(number, **changes):
    """A case without fault: oblique, 0.75 x 1.5 x 3 mm, 64 x 48 x 20 voxels, one label."""
    name = f"case_{number}"
    fields = dict(
        name=name,
        group="train",
        files={f"images/{name}.nii.gz": f"{number:064d}", f"labels/{name}.nii.gz": f"{number + 500:064d}"},
        image_files=(f"images/{name}.nii.gz",),
        label_file=f"labels/{name}.nii.gz",
        shape=(64, 48, 20),
        spacing=(0.75, 1.5, 3.0),
        affine=rows(OBLIQUE),
        orientation="RAS",
        dtype="int16",
        channels=1,
        cropped_shape=(64, 48, 20),
        label_shape=(64, 48, 20),
        label_spacing=(0.75, 1.5, 3.0),
        label_affine=rows(OBLIQUE),
        image=(channel(number),),
        intensity=(values(),),
        labels={1: LABEL},
        label_voxels=64 * 48 * 20,
    )
    return CaseFacts(**{**fields, **changes})


def faults_of(*cases, good=5, **dataset):
    """Faults of the given cases among `good` others."""
    everyone = [*cases, *(facts(100 + n) for n in range(good))]
    fields = dict(name="tiny", folder="/data", layout="paired", file_format="volume", cases=())
    return check_dataset(Dataset(**{**fields, **dataset}), everyone)


def only(faults):
    assert len(faults) == 1, format_faults(faults)
    return faults[0]
