"""Which DICOM files make a volume, and what is refused, by the runtime's reader and the planner's alike."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dataset_builders import OBLIQUE, SPACING, tiny_image, tiny_label
from dicom_files import make_series
from pydicom.uid import JPEGLSLossless, RLELossless
from shared_data import shared_data

from pgsam_monai.base.dicom.series import DicomError, read_series
from pgsam_monai.base.volume import ReadError, read_geometry, read_volume
from pgsam_monai.transforms import ReadCased

IMAGE = tiny_image(1, tiny_label(1))
K = IMAGE.shape[2]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path):
    image = ReadCased("image")({"image": path})["image"]
    return image.numpy()[0], image.meta["affine"]


def refusal(path) -> str:
    """The reason that the planner, the runtime and `read_series` give alike."""
    with pytest.raises(DicomError) as told:
        read_series(path)
    reason = str(told.value)
    with pytest.raises(ReadError) as by_runtime:
        read(path)
    with pytest.raises(ReadError) as by_planner:
        read_volume(path)
    assert str(by_runtime.value) == f"{path}: {reason}."
    assert by_planner.value.reason == reason
    return reason


def put(**values):
    """A change that sets elements in every slice; a function is asked with the slice's number."""

    def change(item, k):
        for keyword, value in values.items():
            setattr(item, keyword, value(k) if callable(value) else value)

    return change


AFFINES = {
    "head first, axial": np.diag([-0.8, -0.8, 3.0, 1.0]),
    "feet first": np.diag([0.8, -0.8, -3.0, 1.0]),  # columns run to the other side, so slices run down
    "coronal": np.array([[-0.8, 0, 0, 5], [0, 0, 3.0, -7], [0, -0.8, 0, 9], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 3.0, 5], [-0.8, 0, 0, -7], [0, -0.8, 0, 9], [0, 0, 0, 1.0]]),
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_every_plane_is_one_grid_for_all_readers(tmp_path, affine):
    if np.linalg.det(affine) < 0:
        affine = affine @ np.diag([1, 1, -1, 1])  # slices follow the normal of their plane
    folder = make_series(tmp_path / "s", IMAGE, affine)
    series = read_series(folder)
    assert [file.name for file in series.files] == [f"{K - k}.dcm" for k in range(K)]
    assert series.shape == IMAGE.shape and series.notes == ()
    np.testing.assert_allclose(series.affine, affine, atol=1e-5)
    voxels, meta_affine = read(folder)
    np.testing.assert_array_equal(voxels, IMAGE)
    np.testing.assert_allclose(meta_affine, series.affine, atol=1e-4)
    np.testing.assert_allclose(read_volume(folder).affine, series.affine, atol=1e-4)
    np.testing.assert_allclose(read_geometry(folder).affine, series.affine, atol=1e-4)


def test_real_series_have_gdcms_order_and_geometry():
    import SimpleITK as sitk

    for name in ("study1", "study2"):
        folder = shared_data("dicom") / name
        series = read_series(folder)
        assert [str(file) for file in series.files] == list(
            sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        )
        np.testing.assert_allclose(series.affine, read(folder)[1], atol=1e-6)


@pytest.mark.parametrize(
    "slopes, offset, kind",
    [(["1"] * K, "-1024", "CT"), (["1"] + ["0.5"] * (K - 1), "0", "PT"), (["0.25"] + ["2000"] * (K - 1), "0", "PT")],
)  # fmt: skip
def test_values_are_scaled_slice_by_slice(tmp_path, slopes, offset, kind):
    change = put(RescaleSlope=lambda k: slopes[k], RescaleIntercept=offset, Modality=kind)
    folder = make_series(tmp_path / "s", IMAGE, change=change)
    expected = IMAGE * np.array([float(slope) for slope in slopes]) + float(offset)
    np.testing.assert_array_equal(read(folder)[0], expected)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels[0], expected)
    assert volume.voxels.dtype == read_geometry(folder).dtype


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_slices_are_decoded(tmp_path, syntax):
    if syntax == JPEGLSLossless and pydicom.__version__ < "3":
        pytest.skip("pydicom 2 writes no JPEG-LS")
    folder = make_series(
        tmp_path / "s", IMAGE, change=lambda item, k: item.compress(syntax, generate_instance_uid=False)
    )
    np.testing.assert_array_equal(read(folder)[0], IMAGE)


def test_an_inverted_radiograph_is_turned_over_with_a_note(tmp_path):
    change = put(PhotometricInterpretation="MONOCHROME1", Modality="DX")
    folder = make_series(tmp_path / "s", IMAGE[..., :1], change=change)
    np.testing.assert_array_equal(read(folder)[0], -1 - IMAGE[..., :1].astype(int))
    (note,) = read_series(folder).notes
    assert note in read_volume(folder).notes and "highest grey value becomes the lowest" in note


def test_one_file_is_a_series_of_one_slice(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE)
    series = read_series(folder / "1.dcm")
    assert series.shape == (*IMAGE.shape[:2], 1)
    np.testing.assert_allclose(np.linalg.norm(series.affine[:3, :3], axis=0), SPACING, rtol=1e-5)
    np.testing.assert_array_equal(read(folder / "1.dcm")[0], IMAGE[..., -1:])
    np.testing.assert_array_equal(read_volume(folder / "1.dcm").voxels[0], IMAGE[..., -1:])


def test_other_objects_and_files_are_left_out_with_a_note(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE)
    report = pydicom.dcmread(folder / "1.dcm")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(folder / "report.dcm")
    mask = pydicom.dcmread(folder / "1.dcm")
    mask.Modality, mask.SeriesInstanceUID = "SEG", "1.2.3"
    mask.save_as(folder / "mask.dcm")
    shutil.copy(folder / "1.dcm", folder / "DICOMDIR")
    (folder / "README.txt").write_text("no image")
    assert read_series(folder).notes == (
        "mask.dcm holds no slice (a segmentation): left out",
        "report.dcm holds no slice (a report, plan or structure set): left out",
    )
    np.testing.assert_array_equal(read(folder)[0], IMAGE)


def test_a_folder_of_other_objects_alone(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE[..., :1], change=put(Modality="SEG"))
    assert (
        refusal(folder) == "no DICOM series in this folder: 1.dcm holds no slice (a segmentation): left out"
    )


def test_many_frames_in_a_file(tmp_path):
    def change(item, k):
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
        item.NumberOfFrames, item.PixelData = 12, item.PixelData * 12

    folder = make_series(tmp_path / "s", IMAGE[..., :1], change=change)
    for path in (folder, folder / "1.dcm"):
        assert refusal(path) == (
            "1.dcm holds 12 frames in one file (Enhanced MR Image Storage), and a file per slice is read here; split "
            "it (dcm4che: emf2sf) or convert it to NIfTI (dcm2niix)"
        )


def test_gantry_tilt(tmp_path):
    shift = SPACING[2] * np.tan(np.radians(12))
    row, column = ((LPS @ OBLIQUE)[:3, axis] / SPACING[axis] for axis in (0, 1))

    def tilted(item, k):
        item.ImagePositionPatient = list(
            np.round(np.array(item.ImagePositionPatient) + k * shift * column, 6)
        )
        item.GantryDetectorTilt = "-12"

    reason = refusal(make_series(tmp_path / "s", IMAGE, change=tilted))
    total = shift * (K - 1)
    assert reason.startswith(
        f"slices are stacked at a slant of 12.0 degrees (gantry tilt -12.0): from the first to the last they shift by "
        f"{total:.1f} mm sideways, at most {min(SPACING[:2]):.2g} mm (a pixel) fit a grid of right angles"
    )
    assert "_Tilt" in reason

    def slight(item, k):  # rounding of headers, not a tilt
        item.ImagePositionPatient = list(np.array(item.ImagePositionPatient) + k * 0.01 * row)

    assert read_series(make_series(tmp_path / "slight", IMAGE, change=slight)).shape == IMAGE.shape


def test_a_missing_slice(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE)
    (folder / "3.dcm").unlink()
    reason = refusal(folder)
    assert reason.startswith("slices are unevenly spaced (3 to 6 mm, widest between 4.dcm, 2.dcm)")
    assert "a slice would lie 2 mm off its place" in reason
    (folder / f"{K}.dcm").unlink()  # at the end, nobody can tell
    (folder / "4.dcm").unlink()
    assert "widest between 5.dcm, 2.dcm" in refusal(folder)


@pytest.mark.parametrize("slices", [4, 5, 6, 7, 8])
def test_any_one_missing_slice_is_noticed(tmp_path, slices):
    for missing in range(2, slices):  # the first and the last one nobody can miss
        folder = make_series(tmp_path / f"s{missing}", IMAGE[..., :slices])
        (folder / f"{missing}.dcm").unlink()
        with pytest.raises(DicomError, match="unevenly spaced"):
            read_series(folder)


def test_distances_that_waver_are_noted(tmp_path):
    def wavering(item, k):
        step = (LPS @ OBLIQUE)[:3, 2] / SPACING[2]
        item.ImagePositionPatient = list(np.array(item.ImagePositionPatient) + (k % 2) * 0.4 * step)

    folder = make_series(tmp_path / "s", IMAGE, change=wavering)
    (note,) = read_series(folder).notes
    assert note == "slices are unevenly spaced (2.6 to 3.4 mm): the mean distance is used"
    assert read_volume(folder).notes == (note,)


def test_slices_that_are_there_twice(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE)
    shutil.copy(folder / "3.dcm", folder / "3 copy.dcm")
    assert refusal(folder) == (
        f"slices are there twice (3 copy.dcm, 3.dcm, both at {depth(folder, '3.dcm'):.4g} mm): copies of one file; "
        "remove them"
    )


def depth(folder, name) -> float:
    item = pydicom.dcmread(folder / name)
    row, column = np.reshape(item.ImageOrientationPatient, (2, 3)).astype(float)
    return float(np.cross(row, column) @ np.array(item.ImagePositionPatient, float))


def test_two_echoes_in_one_series(tmp_path):
    change = put(EchoTime=lambda k: "4.6", InstanceNumber=1)
    folder = make_series(tmp_path / "s", IMAGE, file="a{:d}.dcm", change=change)
    other = put(EchoTime="9.2", InstanceNumber=1, SOPInstanceUID=lambda k: f"1.2.3.{k}")
    make_series(folder, IMAGE, file="b{:d}.dcm", change=other)
    reason = refusal(folder)
    assert reason.startswith(f"{2 * K} slices at {K} places (a8.dcm, b8.dcm, both at ")
    assert "echo time 4.6 and 9.2): several phases, echoes or reconstructions in one series" in reason


def test_several_series_are_told_apart_by_their_descriptions(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE, file="a{:d}.dcm", change=put(SeriesDescription="THIN"))
    make_series(folder, IMAGE[..., :3], file="b{:d}.dcm", uid=2)
    reason = refusal(folder)
    assert reason.startswith("2 DICOM series in one folder: ") and reason.endswith("give each its own folder")
    assert "(THIN, 8 files)" in reason and "(3 files)" in reason


def test_localizers(tmp_path):
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    alone = make_series(tmp_path / "alone", IMAGE[..., :2], change=put(ImageType=scout))
    assert refusal(alone) == "the series is a localizer (scout), 2 overview images; give the series itself"
    within = put(ImageType=lambda k: scout if k == 7 else scout[:2])
    reason = refusal(make_series(tmp_path / "within", IMAGE, change=within))
    assert reason == "1 of 8 files are localizers (scouts), not slices (1.dcm); move them out of the folder"


def colour(item, k):
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PlanarConfiguration = 3, "RGB", 0
    item.BitsAllocated = item.BitsStored = 8
    item.HighBit, item.PixelRepresentation = 7, 0
    item.PixelData = bytes(range(256)) * (item.Rows * item.Columns * 3 // 256 + 1)
    item.PixelData = item.PixelData[: item.Rows * item.Columns * 3]


def test_colours(tmp_path):
    reason = refusal(make_series(tmp_path / "s", IMAGE, change=colour))
    assert reason.startswith(
        "8 of 8 images are in colour (1.dcm, 2.dcm, ...: CT Image Storage): a screen capture"
    )

    def photograph(item, k):
        colour(item, k)
        item.Modality = "XC"
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"

    photo = make_series(tmp_path / "photo", IMAGE[..., :1], change=photograph)
    assert ReadCased("image")({"image": photo})["image"].shape == (3, *IMAGE.shape[:2], 1)


def test_secondary_captures(tmp_path):
    def captured(item, k):
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        item.ConversionType = "WSD"
        del item.ImagePositionPatient, item.ImageOrientationPatient

    reason = refusal(make_series(tmp_path / "s", IMAGE[..., :1], change=captured))
    assert reason.startswith(
        "1.dcm is a secondary capture (screen shot, dose sheet or scanned paper, conversion type"
    )

    def derived(item, k):  # as ITK writes slices: with a place
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    assert read_series(make_series(tmp_path / "itk", IMAGE, change=derived)).shape == IMAGE.shape


def test_slices_without_a_place(tmp_path):
    def lost(item, k):
        if k == 2:
            del item.ImagePositionPatient

    reason = refusal(make_series(tmp_path / "s", IMAGE, change=lost))
    assert reason.startswith("1 of 8 slices have no place in the patient (6.dcm; Image Position or")


def test_sizes_and_pixel_sizes(tmp_path):
    def cropped(item, k):
        if k == 0:
            item.Rows -= 2
            item.PixelData = item.PixelData[: item.Rows * item.Columns * 2]

    reason = refusal(make_series(tmp_path / "s", IMAGE, change=cropped))
    assert reason == (
        f"slices of several sizes: 8.dcm has {IMAGE.shape[0]} x {IMAGE.shape[1] - 2} pixels, most have "
        f"{IMAGE.shape[0]} x {IMAGE.shape[1]}; give each size its own folder"
    )
    finer = put(PixelSpacing=lambda k: ["0.5", "0.5"] if k == 7 else ["0.9", "0.7"])
    reason = refusal(make_series(tmp_path / "finer", IMAGE, change=finer))
    assert "2.dcm has 0.7 x 0.9 mm, 1.dcm 0.5 x 0.5 mm" in reason


def test_orientations(tmp_path):
    turned = put(ImageOrientationPatient=lambda k: [1, 0, 0, 0, 1, 0] if k < 2 else [1, 0, 0, 0, 0, -1])
    reason = refusal(make_series(tmp_path / "s", IMAGE, change=turned))
    assert reason.startswith(
        "slices of several orientations: 2 of 8 (7.dcm, 8.dcm) are turned by up to 90.0 degrees"
    )


def test_compression_that_cannot_be_decoded(tmp_path):
    def coded(item, k):
        item.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
        item["PixelData"].VR = "OB"
        item.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        item["PixelData"].is_undefined_length = True

    reason = refusal(make_series(tmp_path / "s", IMAGE, change=coded))
    assert reason.startswith("1.dcm is compressed as MPEG-4")
    assert "(1.2.840.10008.1.2.4.102), which can't be decoded here" in reason


def test_inverted_measurements(tmp_path):
    reason = refusal(make_series(tmp_path / "s", IMAGE, change=put(PhotometricInterpretation="MONOCHROME1")))
    assert "(MONOCHROME1), and reading it would turn the CT's measured values over" in reason


def test_cut_files_and_strangers(tmp_path):
    folder = make_series(tmp_path / "s", IMAGE)
    last = folder / "1.dcm"
    last.write_bytes(last.read_bytes()[:-4])
    (folder / "2.dcm").write_bytes(b"not DICOM at all")
    assert refusal(folder) == "2 DICOM files are truncated or unreadable (1.dcm, 2.dcm); copy them again"
    (tmp_path / "none").mkdir()
    with pytest.raises(DicomError, match="no DICOM series in this folder; give the folder"):
        read_series(tmp_path / "none")
