"""Label maps as DICOM-SEG and back, checked with highdicom and with plain pydicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dataset_builders import OBLIQUE, tiny_image, tiny_label
from dicom_files import FRAME, make_series, plain_frames, positions_of

from pgsam_monai.base.colours import colour_of
from pgsam_monai.base.dicom.headers import DicomError
from pgsam_monai.base.dicom.series import read_series
from pgsam_monai.dicom.seg import write_segmentation
from pgsam_monai.dicom.seg_reading import read_segmentation
from pgsam_monai.dicom.segments import Maker

SHAPE = (11, 9, 7)  # 99 pixels a frame: no whole number of bytes
IMAGE = tiny_image(1, tiny_label(1, SHAPE))
MAKER = Maker(bundle="samed_abdomen", version="9.8.7", weights="0123456789abcdef")
NAMES = {"left kidney": 205, "liver tumour": 5, "spleen": 420}


def label_map():
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:6, 1:5, 1:4] = 205
    labels[6:9, 3:8, 2:6] = 420
    return labels


def write(folder, labels, names=NAMES, **options):
    options = {"maker": MAKER, "affine": read_series(folder).affine} | options
    return write_segmentation(labels, folder, names, folder.parent / "out/x.seg.dcm", **options)


@pytest.fixture
def series(tmp_path):
    return make_series(tmp_path / "series", IMAGE)


PLANES = {
    "oblique": OBLIQUE,
    "feet first": np.diag([0.8, -0.8, 3.0, 1.0]) @ np.diag([1, 1, -1, 1]),
    "sagittal": np.array([[0, 0, -3.0, 5], [0.8, 0, 0, -7], [0, -0.8, 0, 9], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("affine", PLANES.values(), ids=PLANES)
def test_round_trip_by_highdicom_and_by_plain_pydicom(tmp_path, affine):
    affine = affine if np.linalg.det(affine) > 0 else affine @ np.diag([1, 1, -1, 1])
    folder = make_series(tmp_path / "series", IMAGE, affine)
    labels = label_map()
    file = write(folder, labels)
    found, names = read_segmentation(file, folder)
    assert names == {"left kidney": 1, "spleen": 2}  # the tumour has no voxels
    np.testing.assert_array_equal(found, np.select([labels == 205, labels == 420], [1, 2]))

    rebuilt, places = np.zeros(SHAPE, int), positions_of(folder)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ read_series(folder).affine
    frames = plain_frames(file)
    assert [frame[0] for frame in frames] == [1] * 3 + [2] * 4  # slices without the class are left out
    for segment, instance, position, mask in frames:
        np.testing.assert_allclose(position, places[instance], atol=1e-6)
        index = np.linalg.solve(lps, [*position, 1])[:3]
        np.testing.assert_allclose(index, [0, 0, round(index[2])], atol=1e-3)
        rebuilt[..., round(index[2])][mask.T] = segment
    np.testing.assert_array_equal(rebuilt, found)


def test_what_the_object_says_of_itself(series):
    item = pydicom.dcmread(write(series, label_map()))
    source = pydicom.dcmread(series / "1.dcm")
    assert item.Modality == "SEG" and item.SegmentationType == "BINARY" and item.SegmentsOverlap == "NO"
    assert item.FrameOfReferenceUID == FRAME
    assert (item.StudyInstanceUID, item.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert item.SeriesInstanceUID != source.SeriesInstanceUID
    (referred,) = item.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == source.SeriesInstanceUID
    instances = {str(one.ReferencedSOPInstanceUID) for one in referred.ReferencedInstanceSequence}
    assert instances == set(positions_of(series))
    assert (item.Manufacturer, item.ManufacturerModelName) == ("pgsam-monai", "samed_abdomen")
    assert (item.SoftwareVersions, item.DeviceSerialNumber) == ("9.8.7", "0123456789abcdef")
    assert item.SeriesDescription == item.ContentDescription == "Segmentation by samed_abdomen"
    assert str(item.ContentCreatorName) == "pgsam-monai^"
    measures = item.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    np.testing.assert_allclose(measures.SpacingBetweenSlices, 3)


def test_what_a_segment_says_of_itself(series):
    labels = label_map()
    labels[0, 0, 0] = 5
    kidney, tumour, spleen = pydicom.dcmread(write(series, labels)).SegmentSequence
    assert [int(s.SegmentNumber) for s in (kidney, tumour, spleen)] == [1, 2, 3]
    assert [s.SegmentLabel for s in (kidney, tumour, spleen)] == list(NAMES)
    assert kidney.SegmentAlgorithmType == "AUTOMATIC" and kidney.SegmentAlgorithmName == "pgsam-monai"
    (algorithm,) = kidney.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == "9.8.7"
    assert algorithm.AlgorithmParameters == "bundle=samed_abdomen,weights=0123456789abcdef"
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert tumour.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert kidney.TrackingUID != tumour.TrackingUID


def test_a_class_has_the_colour_that_overlays_give_it(series):
    from skimage.color import lab2rgb

    *_, spleen = pydicom.dcmread(write(series, label_map())).SegmentSequence
    l, a, b = np.array(spleen.RecommendedDisplayCIELabValue) / 65535  # noqa: E741
    shown = lab2rgb([l * 100, a * 255 - 128, b * 255 - 128]) * 255
    np.testing.assert_allclose(shown, colour_of(2), atol=1)  # third of the classes, though second here


def test_clicks_make_it_semiautomatic(series):
    maker = Maker(bundle="medsa", version="1", guided=True)
    item = pydicom.dcmread(write(series, label_map(), maker=maker))
    assert {segment.SegmentAlgorithmType for segment in item.SegmentSequence} == {"SEMIAUTOMATIC"}


def test_all_frames_if_wanted(series):
    file = write(series, label_map(), omit_empty_frames=False)
    assert len(plain_frames(file)) == 2 * SHAPE[2]
    np.testing.assert_array_equal(read_segmentation(file, series)[0] > 0, label_map() > 0)


def test_nothing_found_is_one_empty_frame_per_class(series):
    file = write(series, np.zeros(SHAPE, np.uint8))
    frames = plain_frames(file)
    assert [frame[0] for frame in frames] == [1, 2, 3] and not any(frame[3].any() for frame in frames)
    found, names = read_segmentation(file, series)
    assert list(names) == list(NAMES) and found.shape == SHAPE and not found.any()


def test_another_background_and_values_without_a_name(series):
    labels = np.full(SHAPE, 255, np.uint8)
    labels[1:3, 1:3, 1:3] = 0
    found, names = read_segmentation(write(series, labels, {"liver": 0, "spleen": 9}, background=255), series)
    assert names == {"liver": 1} and found.sum() == 8
    with pytest.raises(
        DicomError, match=r"holds 255, values without a name; classes are liver \(0\), spleen"
    ):
        write(series, labels, {"liver": 0, "spleen": 9})
    found, names = read_segmentation(write(series, labels, {"liver": 0}, background=None), series)
    assert names == {"liver": 1} and found.sum() == 8


def test_label_maps_of_another_grid(series):
    with pytest.raises(
        DicomError, match=r"label map has 9 x 11 x 7 voxels and the series .*series 11 x 9 x 7; give"
    ):
        write(series, label_map().transpose(1, 0, 2))
    moved = read_series(series).affine.copy()
    moved[:3, 3] += 0.5
    with pytest.raises(DicomError, match=r"label map lies up to 0.866 mm off the series"):
        write(series, label_map(), affine=moved)
    assert not (series.parent / "out").exists()


def test_a_file_appears_whole_or_not_at_all(series, monkeypatch):
    first = write(series, label_map()).read_bytes()

    def broken(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", broken)
    monkeypatch.setattr(pydicom.dataset.FileDataset, "save_as", broken, raising=False)
    with pytest.raises(OSError, match="disk full"):
        write(series, label_map())
    (left,) = (series.parent / "out").iterdir()
    assert left.name == "x.seg.dcm" and left.read_bytes() == first


def test_names_and_patients_of_any_script(tmp_path):
    def named(item, k):
        item.SpecificCharacterSet = "ISO_IR 100"
        item.PatientName, item.StudyDescription = "Müller^Jörg", "Schädel"

    folder = make_series(tmp_path / "series", IMAGE, change=named)
    long = "perform segmentation of everything in the left upper abdomen that isn't the spleen"
    names = {"Größe links": 205, "肝\\臓": 420, long: 1}
    labels = label_map()
    labels[0, 0, 0] = 1
    item = pydicom.dcmread(write(folder, labels, names))
    assert (str(item.PatientName), item.StudyDescription) == ("Müller^Jörg", "Schädel")
    one, two, three = item.SegmentSequence
    assert (one.SegmentLabel, two.SegmentLabel) == ("Größe links", "肝/臓")
    assert len(three.SegmentLabel) == 64 and three.SegmentLabel.endswith("...")
    assert three.SegmentDescription == long


def test_headers_that_lack_what_may_be_empty(tmp_path):
    def bare(item, k):
        del item.PatientID, item.SliceThickness
        item.NumberOfFrames = 1

    folder = make_series(tmp_path / "series", IMAGE, change=bare)
    file = write(folder, label_map())
    item = pydicom.dcmread(file)
    assert item.PatientID == "" and item.PatientBirthDate in ("", None)
    np.testing.assert_allclose(
        item.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness, 3
    )
    np.testing.assert_array_equal(read_segmentation(file, folder)[0] > 0, label_map() > 0)


def test_a_series_without_a_frame_of_reference(tmp_path):
    def lost(item, k):
        del item.FrameOfReferenceUID

    folder = make_series(tmp_path / "series", IMAGE, change=lost)
    with pytest.raises(DicomError, match="no Frame of Reference UID, so that nothing can be placed"):
        write(folder, label_map())


def test_a_single_radiograph_needs_none(tmp_path):
    def radiograph(item, k):
        del item.FrameOfReferenceUID, item.ImagePositionPatient, item.ImageOrientationPatient
        item.Modality = "DX"
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"

    folder = make_series(tmp_path / "series", IMAGE[..., :1], change=radiograph)
    labels = label_map()[..., 2:3]
    file = write(folder, labels)
    found, names = read_segmentation(file, folder)
    assert names == {"left kidney": 1, "spleen": 2}
    np.testing.assert_array_equal(found > 0, labels > 0)
    assert "PatientOrientation" in pydicom.dcmread(
        file
    )  # may be empty, but not missing where no place is known


def test_files_that_cannot_be_read_back(series, tmp_path):
    file = write(series, label_map())
    other = make_series(tmp_path / "other", IMAGE, uid=9)
    with pytest.raises(DicomError, match="refers to none of the slices in .*other; give the series that was"):
        read_segmentation(file, other)
    with pytest.raises(DicomError, match=r"1\.dcm can't be read as a DICOM segmentation"):
        read_segmentation(series / "1.dcm", series)


def test_overlapping_segments_make_no_label_map(series, tmp_path):
    import highdicom as hd

    from pgsam_monai.dicom.seg import read_headers
    from pgsam_monai.dicom.segments import describe_segments

    both = np.ones((SHAPE[2], SHAPE[1], SHAPE[0], 2), np.uint8)
    item = hd.seg.Segmentation(
        source_images=read_headers(read_series(series)), pixel_array=both, segmentation_type="BINARY",
        segment_descriptions=describe_segments(["liver", "spleen"], ["liver", "spleen"], MAKER),
        series_instance_uid=hd.UID(), series_number=1, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="x", manufacturer_model_name="x", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    item.save_as(tmp_path / "both.dcm")
    with pytest.raises(DicomError, match=r"both\.dcm holds segments that overlap"):
        read_segmentation(tmp_path / "both.dcm", series)
