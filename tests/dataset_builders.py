"""Small functions that write a tiny data set in each layout. Each returns its folder.

Volumes are oblique and anisotropic (`OBLIQUE`), images are noise, brighter where the label is set, and case n
has the same voxels whatever the layout, so that layouts can be compared with each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (12, 10, 8)
SPACING = (0.75, 1.5, 3.0)
LABELS = (0, 1, 2)


def rotation(degrees: float = 20.0) -> np.ndarray:
    """Turn about z, then about x: (3, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def oblique_affine(spacing: Sequence[float] = SPACING) -> np.ndarray:
    """(4, 4) RAS+ affine with turned axes, voxel sizes `spacing` and an odd origin."""
    affine = np.eye(4)
    affine[:3, :3] = rotation() * np.asarray(spacing)
    affine[:3, 3] = (-31.5, 17.25, 108.0)
    return affine


OBLIQUE = oblique_affine()


def tiny_label(case: int, shape: Sequence[int] = SHAPE, values: Sequence[int] = LABELS) -> np.ndarray:
    """One box per foreground value, side by side along i, a voxel further along j per case."""
    label = np.zeros(shape, np.uint8 if max(values) < 256 else np.int16)
    foreground = [value for value in values if value != 0]
    width = max(1, (shape[0] - 2) // max(1, len(foreground)))
    for number, value in enumerate(foreground):
        start = 1 + number * width
        j = case % max(1, shape[1] // 2)
        rows = slice(start, start + max(1, width - 1))
        label[rows, j : j + max(1, shape[1] // 2), shape[2] // 4 : shape[2] // 4 + shape[2] // 2 + 1] = value
    return label


def tiny_image(case: int, label: np.ndarray, channel: int = 0) -> np.ndarray:
    """int16 noise about 100, 200 higher per rank of the label's value; channels differ by their noise."""
    random = np.random.default_rng((case, channel))
    rank = np.searchsorted(np.unique(label), label)
    return (random.normal(100, 10, label.shape) + 200 * rank).astype(np.int16)


def write_volume(
    path: Path, voxels: np.ndarray, affine: np.ndarray = OBLIQUE, *, compressed: bool = True
) -> Path:
    """Write (i, j, k) or (i, j, k, channels) voxels as .nii, .nii.gz, .hdr, .nrrd, .mha or .mhd.

    Not `compressed`, a .mhd keeps its voxels in a .raw beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    elif path.name.endswith(".hdr"):
        nib.save(nib.Nifti1Pair(voxels, affine), path.with_suffix(".img"))
    else:
        _itk_image(voxels, affine, path, compressed)
    return path


def _itk_image(voxels: np.ndarray, affine: np.ndarray, path: Path, compressed: bool) -> None:
    import SimpleITK as sitk

    array = voxels.transpose(2, 1, 0) if voxels.ndim == 3 else voxels.transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=voxels.ndim == 4)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=compressed)


def write_nnunet(
    folder: Path,
    *,
    cases: int = 3,
    channels: int = 1,
    test: int = 0,
    ending: str = ".nii.gz",
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
) -> Path:
    """nnU-Net 2: imagesTr/case_1_0000.nii.gz, labelsTr/case_1.nii.gz, dataset.json; test cases unlabelled."""
    for case in range(1, cases + test + 1):
        part = "Tr" if case <= cases else "Ts"
        label = tiny_label(case, shape, values)
        for channel in range(channels):
            image = tiny_image(case, label, channel)
            write_volume(folder / f"images{part}" / f"case_{case}_{channel:04d}{ending}", image)
        if part == "Tr":
            write_volume(folder / "labelsTr" / f"case_{case}{ending}", label)
    content = {
        "channel_names": {str(channel): f"channel{channel}" for channel in range(channels)},
        "labels": _label_names(values),
        "numTraining": cases,
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_msd(
    folder: Path,
    *,
    cases: int = 3,
    channels: int = 1,
    test: int = 0,
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
) -> Path:
    """Medical Segmentation Decathlon: several channels share a 4-D file; files listed in dataset.json."""
    training, tests = [], []
    for case in range(1, cases + test + 1):
        part, name = "Tr" if case <= cases else "Ts", f"organ_{case:03d}.nii.gz"
        label = tiny_label(case, shape, values)
        images = [tiny_image(case, label, channel) for channel in range(channels)]
        write_volume(folder / f"images{part}" / name, np.stack(images, -1) if channels > 1 else images[0])
        if part == "Tr":
            write_volume(folder / "labelsTr" / name, label)
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        else:
            tests.append(f"./imagesTs/{name}")
    content = {
        "name": "Organ",
        "modality": {str(channel): f"MR{channel}" for channel in range(channels)},
        "labels": {str(value): name for name, value in _label_names(values).items()},
        "numTraining": cases,
        "training": training,
        "test": tests,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_synapse(
    folder: Path,
    *,
    cases: int = 3,
    test: int = 0,
    raw_data: bool = False,
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
) -> Path:
    """Raw BTCV: img/img0001.nii.gz and label/label0001.nii.gz, below RawData/Training if `raw_data`."""
    base = folder / "RawData" / "Training" if raw_data else folder
    for case in range(1, cases + 1):
        label = tiny_label(case, shape, values)
        write_volume(base / "img" / f"img{case:04d}.nii.gz", tiny_image(case, label))
        write_volume(base / "label" / f"label{case:04d}.nii.gz", label)
    for case in range(61, 61 + test):
        image = tiny_image(case, tiny_label(case, shape, values))
        write_volume(folder / "RawData" / "Testing" / "img" / f"img{case:04d}.nii.gz", image)
    return folder


def write_transunet(
    folder: Path,
    *,
    cases: int = 2,
    test: int = 1,
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
    lists: bool = True,
) -> Path:
    """TransUNet's Synapse: train_npz slices, test_vol_h5 volumes (slice first), list files; values 0..1."""
    import h5py

    for name in ("train_npz", "test_vol_h5", "lists/lists_Synapse"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for case in range(1, cases + test + 1):
        label = tiny_label(case, shape, values).astype(np.float32)
        image = np.clip(tiny_image(case, label) / 1000, 0, 1).astype(np.float32)
        if case > cases:
            with h5py.File(folder / "test_vol_h5" / f"case{case:04d}.npy.h5", "w") as archive:
                archive["image"], archive["label"] = np.moveaxis(image, -1, 0), np.moveaxis(label, -1, 0)
            continue
        for k in range(shape[2]):
            names.append(f"case{case:04d}_slice{k:03d}")
            np.savez(folder / "train_npz" / f"{names[-1]}.npz", image=image[..., k], label=label[..., k])
    if lists:
        tests = [f"case{case:04d}" for case in range(cases + 1, cases + test + 1)]
        (folder / "lists/lists_Synapse/train.txt").write_text("\n".join(names) + "\n")
        (folder / "lists/lists_Synapse/test_vol.txt").write_text("\n".join(tests) + "\n")
    return folder


def write_la(
    folder: Path,
    *,
    names: Sequence[str] = ("0RZD", "1D7C", "1GU1"),
    test: Sequence[str] = (),
    test_labels: bool = False,
    affine: np.ndarray = OBLIQUE,
) -> Path:
    """LA: Training Set/<case>/lgemri.nrrd, laendo.nrrd (0 and 255) and lawall.nrrd; Testing Set/ likewise."""
    for number, name in enumerate([*names, *test], start=1):
        case = folder / ("Testing Set" if name in test else "Training Set") / name
        label = tiny_label(number, values=(0, 255))
        write_volume(case / "lgemri.nrrd", tiny_image(number, label), affine)
        if name not in test or test_labels:
            write_volume(case / "laendo.nrrd", label, affine)
            write_volume(case / "lawall.nrrd", label, affine)
    return folder


def write_la_h5(
    folder: Path,
    *,
    names: Sequence[str] = ("0RZD", "1D7C", "1GU1"),
    test: Sequence[str] = ("UPT6",),
    lists: bool = True,
) -> Path:
    """UA-MT's LA: 2018LA_Seg_Training Set/<case>/mri_norm2.h5 of (x, y, slices), z-scored; the lists beside it."""
    import h5py

    for number, name in enumerate([*names, *test], start=1):
        case = folder / "2018LA_Seg_Training Set" / name
        case.mkdir(parents=True)
        label = tiny_label(number, values=(0, 1))
        image = tiny_image(number, label).astype(np.float32)
        with h5py.File(case / "mri_norm2.h5", "w") as archive:
            archive["image"], archive["label"] = (image - image.mean()) / image.std(), label
    if lists:
        for file, listed in (("train.list", names), ("test.list", test)):
            (folder / file).write_text("\n".join(listed) + "\n")
    return folder


def write_promise12(
    folder: Path, *, cases: Sequence[int] = (0, 1, 2), test: int = 0, parts: bool = False
) -> Path:
    """PROMISE12: Case00.mhd and Case00_segmentation.mhd, in TrainingData_Part1 ... if `parts`; TestData unlabelled."""
    for place, number in enumerate(cases):
        part = folder / f"TrainingData_Part{1 + place * 3 // len(cases)}" if parts else folder
        label = tiny_label(number, values=(0, 1))
        write_volume(part / f"Case{number:02d}.mhd", tiny_image(number, label), compressed=False)
        write_volume(part / f"Case{number:02d}_segmentation.mhd", label, compressed=False)
    for number in range(test):
        image = tiny_image(100 + number, tiny_label(number, values=(0, 1)))
        write_volume(folder / "TestData" / f"Case{number:02d}.mhd", image, compressed=False)
    return folder


def write_paired(
    folder: Path,
    *,
    cases: int = 3,
    image: str = "images/case_{:d}.nii.gz",
    label: str = "labels/case_{:d}.nii.gz",
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
    affine: np.ndarray = OBLIQUE,
) -> Path:
    """Volumes named by two patterns, such as "case_{:d}_img.nrrd" and "case_{:d}_seg.nrrd"."""
    for case in range(1, cases + 1):
        voxels = tiny_label(case, shape, values)
        write_volume(folder / image.format(case), tiny_image(case, voxels), affine)
        write_volume(folder / label.format(case), voxels, affine)
    return folder


def write_pictures(
    folder: Path,
    *,
    cases: int = 3,
    image: str = "images/photo_{:d}.png",
    label: str = "masks/photo_{:d}.png",
    colour: bool = True,
    mask: str = "0/255",
    size: tuple[int, int] = (24, 20),
) -> Path:
    """Pictures of `size` (rows, columns). Masks: "0/255", "palette" (0, 1, 2), "rgb" (black, red, green)."""
    from PIL import Image

    for case in range(1, cases + 1):
        classes = tiny_label(case, (*size, 4))[..., 2]
        grey = (60 + 70 * classes + np.random.default_rng(case).integers(0, 9, size)).astype(np.uint8)
        picture = np.stack([grey, grey // 2, 255 - grey], -1) if colour else grey
        for pattern in (image, label):
            (folder / pattern.format(case)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / image.format(case))
        mask_picture(classes, mask).save(folder / label.format(case))
    return folder


def mask_picture(classes: np.ndarray, kind: str) -> Any:
    """A mask of class indices as "0/255" grey, "palette" or "rgb" picture."""
    from PIL import Image

    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    if kind == "rgb":
        return Image.fromarray(colours[classes])
    if kind == "palette":
        picture = Image.new("P", classes.shape[::-1])
        picture.putdata(classes.ravel().tolist())
        picture.putpalette(colours.ravel().tolist())
        return picture
    return Image.fromarray(np.where(classes > 0, np.uint8(255), np.uint8(0)))


def write_dicom(
    folder: Path,
    *,
    cases: int = 2,
    series: str = "images/study{:d}",
    label: str | None = "labels/study{:d}.nii.gz",
    file: str = "{:d}.dcm",
    shape: Sequence[int] = SHAPE,
    values: Sequence[int] = LABELS,
) -> Path:
    """A DICOM series per folder with label volumes (None: without). `file` may lack an ending."""
    for case in range(1, cases + 1):
        voxels = tiny_label(case, shape, values)
        write_series(folder / series.format(case), tiny_image(case, voxels), file=file, uid=case)
        if label:
            write_volume(folder / label.format(case), voxels)
    return folder


def write_series(
    folder: Path, voxels: np.ndarray, affine: np.ndarray = OBLIQUE, *, file: str = "{:d}.dcm", uid: int = 1
) -> Path:
    """A CT series of int16 (i, j, k) voxels, one file per slice; file order is the reverse of slice order."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}.{k + 1}"
        target = folder / file.format(voxels.shape[2] - k)
        item = FileDataset(str(target), {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        item.Modality, item.PatientID, item.InstanceNumber = "CT", f"P{uid}", k + 1
        item.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}"
        item.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}.0"
        item.ImagePositionPatient = [f"{x:.10g}" for x in lps[:3, 3] + k * lps[:3, 2]]
        item.ImageOrientationPatient = [f"{x:.10f}" for x in (lps[:3, :2] / spacing[:2]).T.ravel()]
        item.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]  # row distance first
        item.SliceThickness = f"{spacing[2]:.10g}"
        item.Rows, item.Columns = voxels.shape[1], voxels.shape[0]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        item.RescaleSlope, item.RescaleIntercept = "1", "0"
        item.PixelData = np.ascontiguousarray(voxels[:, :, k].T.astype("<i2")).tobytes()
        _save(item, target)
    return folder


def _save(item: Any, target: Path) -> None:
    """As a file with all that DICOM asks of one; MONAI Label's environment has pydicom 2."""
    from pydicom import __version__

    if int(__version__.split(".")[0]) >= 3:
        item.save_as(target, enforce_file_format=True)
    else:
        item.is_little_endian, item.is_implicit_VR = True, False
        item.save_as(target, write_like_original=False)


def write_datalist(
    folder: Path, *, cases: int = 4, test: int = 1, folds: int | None = 2, validation: int = 0
) -> Path:
    """A MONAI datalist "datalist.json" with training (and "fold"), validation and testing lists."""
    content: dict[str, list[dict]] = {"training": [], "validation": [], "testing": []}
    for case in range(1, cases + validation + test + 1):
        label = tiny_label(case)
        entry = {"image": f"scans/p{case}/t1.nii.gz", "label": f"scans/p{case}/truth.nii.gz"}
        write_volume(folder / entry["image"], tiny_image(case, label))
        write_volume(folder / entry["label"], label)
        part = "training" if case <= cases else "validation" if case <= cases + validation else "testing"
        if part == "training" and folds:
            entry["fold"] = case % folds
        content[part].append({"image": entry["image"]} if part == "testing" else entry)
    (folder / "datalist.json").write_text(json.dumps({key: value for key, value in content.items() if value}))
    return folder


def _label_names(values: Sequence[int]) -> dict[str, int]:
    return {"background" if value == 0 else f"organ{value}": int(value) for value in values}
