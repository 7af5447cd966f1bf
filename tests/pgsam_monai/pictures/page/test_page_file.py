"""The file: nothing in it runs but its own script, nothing is loaded, and what can't be shown is a clear error."""

import base64
import hashlib
import json
import re

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import OBLIQUE, tiny_image, tiny_label, write_series, write_volume
from dicom_files import make_series
from page_reader import read_blocks, read_page, without_data
from picture_builders import save
from PIL import Image
from shared_data import shared_data

from pgsam_monai.pictures.page.write import write_page

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'\u2028"


@pytest.fixture
def case(tmp_path):
    label = tiny_label(1)
    image = write_volume(tmp_path / "a secret folder" / "scan.nii.gz", tiny_image(1, label))
    return image, write_volume(tmp_path / "prediction.nii.gz", label), tmp_path / "out" / "page.html"


def write(case, **options):
    image, label, file = case
    return write_page(image, label, file=file, **options)


def test_names_are_data(case):
    page = write(case, labels={NASTY: 1, "{{ facts }}": 2}, name=NASTY)
    text = page.read_text(encoding="utf-8")
    assert (
        text.count("<script") == text.count("</script>") == 4
    )  # facts, label map, grey values, the page's own
    assert "alert(1)</script>" not in text and "<img" not in text
    found = json.loads(read_blocks(page)["case"])
    assert [shown["name"] for shown in found["classes"]] == [NASTY, "{{ facts }}"] and found["name"] == NASTY


def test_names_that_are_no_unicode_are_written(case):
    page = write(case, name="caf\udce9")
    assert "<title>caf?</title>" in page.read_text(encoding="utf-8")


def test_only_the_pages_own_script_may_run(case):
    text = write(case).read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    for rule in (
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline' 'sha256-",
    ):
        assert rule in policy
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_nothing_is_loaded_and_no_folder_is_told(case):
    text = without_data(write(case))
    for address in (
        "http:",
        "https:",
        "//www",
        "@import",
        "url(",
        " src=",
        "import(",
        "fetch(",
        "XMLHttpRequest",
    ):
        assert address not in text, address
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]
    assert "a secret folder" not in text and str(case[0].parent) not in text
    assert "eval(" not in text and "innerHTML" not in text


def test_a_page_is_replaced_whole(case, monkeypatch):
    page = write(case)
    before = page.read_bytes()
    monkeypatch.setattr("pgsam_monai.pictures.page.write.pack_grey", lambda *_: iter([1 / 0]))
    with pytest.raises(ZeroDivisionError):
        write(case)
    assert page.read_bytes() == before and list(page.parent.iterdir()) == [page]


def test_a_reference_is_shown_beside(case, tmp_path):
    reference = write_volume(tmp_path / "truth.nii.gz", tiny_label(2))
    image, label, file = case
    found, arrays = read_page(write_page(image, label, reference, file=file))
    assert found["files"] == {
        "image": "scan.nii.gz",
        "prediction": "prediction.nii.gz",
        "reference": "truth.nii.gz",
    }
    a, b = tiny_label(1), tiny_label(2)
    expected = [2 * np.sum((a == v) & (b == v)) / (np.sum(a == v) + np.sum(b == v)) for v in (1, 2)]
    assert [shown["dice"] for shown in found["classes"]] == pytest.approx(expected)
    assert np.sum(arrays["reference"] == 1) == np.sum(b == 1)


def test_a_map_in_another_order_of_axes_lies_where_it_belongs(case, tmp_path):
    """The image is stored from right to left, the map from front to back and upside down: the same places."""
    image, label, file = case
    turned = nib.as_closest_canonical(nib.load(label)).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nib.save(turned, tmp_path / "turned.nii.gz")
    _, straight = read_page(write(case))
    _, arrays = read_page(write_page(image, tmp_path / "turned.nii.gz", file=file))
    assert turned.shape != nib.load(label).shape
    assert np.array_equal(arrays["prediction"], straight["prediction"])


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_pictures_show_as_they_are(mode, tmp_path):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (20, 31, 3), np.uint8)
    mask = np.zeros((20, 31), np.uint8)
    mask[3:9, 4:20] = 128
    image = save(picture, tmp_path / "eye.png", mode if mode != "RGB" else None)
    label = save(mask, tmp_path / "eye_mask.png")
    found, arrays = read_page(write_page(image, label, file=tmp_path / "eye.html"))
    assert found["planes"] == ["stored"] and found["affine"] is None
    assert (found["classes"][0]["ml"], found["classes"][0]["voxels"]) == (None, 96)
    assert np.array_equal(arrays["prediction"][0], mask)
    shown = np.asarray(Image.open(image).convert("L" if mode == "L" else "RGB"))
    expected = shown if mode == "L" else np.moveaxis(shown, -1, 0)[:, None]
    assert found["colour"] == (mode != "L") and np.array_equal(arrays["grey"].squeeze(), expected.squeeze())


def test_the_first_of_several_channels_is_shown_and_told_of(tmp_path):
    label = tiny_label(1)
    channels = np.stack([tiny_image(1, label, channel) for channel in range(2)], -1)
    image = write_volume(tmp_path / "image.nii.gz", channels)
    page = write_page(image, write_volume(tmp_path / "label.nii.gz", label), file=tmp_path / "page.html")
    found, arrays = read_page(page)
    assert found["notes"][0] == "The first of 2 channels is shown."
    assert np.isin(channels[..., 0], arrays["grey"]).all()


def test_archives_show_their_slices(tmp_path):
    import h5py

    volume = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)  # (slices, rows, columns)
    with h5py.File(tmp_path / "case.npy.h5", "w") as archive:
        archive["image"], archive["label"] = volume, (volume > 30).astype(np.uint8)
    file = tmp_path / "case.npy.h5"
    found, arrays = read_page(write_page(file, file, file=tmp_path / "page.html"))
    assert found["planes"] == ["stored"] and np.array_equal(arrays["grey"], volume)
    assert np.array_equal(arrays["prediction"], volume > 30)


def test_one_slice_shows_one_plane(tmp_path):
    sagittal = np.diag([4.0, 1.0, 1.0, 1.0])
    image = write_volume(tmp_path / "image.nii.gz", np.ones((1, 8, 9), np.int16), sagittal)
    found, _ = read_page(write_page(image, image, file=tmp_path / "page.html"))
    assert found["planes"] == ["sagittal"] == [found["plane"]]


def test_a_dicom_series_and_a_map_beside_it(tmp_path):
    label = tiny_label(1)
    series = write_series(tmp_path / "series", tiny_image(1, label), OBLIQUE)
    page = write_page(series, write_volume(tmp_path / "map.nii.gz", label), file=tmp_path / "page.html")
    found, arrays = read_page(page)
    assert np.array_equal(np.sort(arrays["grey"], axis=None), np.sort(tiny_image(1, label), axis=None))
    assert arrays["grey"][arrays["prediction"] == 2].min() > arrays["grey"][arrays["prediction"] == 0].max()
    assert found["name"] == "series"


def test_a_dicom_segmentation_names_its_classes(tmp_path):
    from pgsam_monai.predicting.segmentations import segmentation_of

    label = tiny_label(1)
    series = make_series(tmp_path / "series", tiny_image(1, label))
    label_map = write_volume(tmp_path / "map.nii.gz", label)
    names = {"liver": 1, "spleen": 2}
    segmentation = segmentation_of(series, label_map, names, bundle="a bundle", file=tmp_path / "map.seg.dcm")
    found, arrays = read_page(write_page(series, segmentation, file=tmp_path / "page.html"))
    assert {shown["name"]: shown["voxels"] for shown in found["classes"]} == {
        name: int(np.sum(label == value)) for name, value in names.items()
    }
    values = {shown["name"]: shown["value"] for shown in found["classes"]}
    bright = arrays["grey"][arrays["prediction"] == values["spleen"]]
    assert bright.min() > 400 > arrays["grey"][arrays["prediction"] == values["liver"]].max()
    refused(
        write_volume(tmp_path / "no.nii.gz", label),
        segmentation,
        tmp_path,
        "is a DICOM segmentation that 'no.nii.gz'",
    )
    with pytest.raises(ValueError, match="names its classes itself"):
        write_page(series, segmentation, file=tmp_path / "page.html", labels=names)


def test_a_real_series(tmp_path):
    from pgsam_monai.base.volume import read_image

    series = shared_data("dicom") / "study1"
    image = read_image(series)
    label = (image.voxels[0] > 100).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, image.affine), tmp_path / "map.nii.gz")
    found, arrays = read_page(write_page(series, tmp_path / "map.nii.gz", file=tmp_path / "page.html"))
    assert found["planes"] == ["axial", "coronal", "sagittal"]
    assert np.array_equal(arrays["grey"] > 100, arrays["prediction"] == 1)


def refused(image, label, tmp_path, match, kind=ValueError):
    with pytest.raises(kind, match=match):
        write_page(image, label, file=tmp_path / "out" / "page.html")
    assert not (tmp_path / "out" / "page.html").exists()


def test_what_cannot_be_shown_is_refused(case, tmp_path):
    image, label, _ = case
    moved = OBLIQUE.copy()
    moved[:3, 3] += 5
    refused(
        tmp_path / "none.nii.gz",
        label,
        tmp_path,
        "The image '.*none.nii.gz' does not exist",
        FileNotFoundError,
    )
    refused(
        image, tmp_path / "none.nii.gz", tmp_path, "The prediction '.*' does not exist", FileNotFoundError
    )
    other = write_volume(tmp_path / "other.nii.gz", tiny_label(1, (12, 10, 9)))
    refused(
        image, other, tmp_path, r"prediction 'other.nii.gz' has shape \(12, 10, 9\), the image \(12, 10, 8\)"
    )
    shifted = write_volume(tmp_path / "shifted.nii.gz", tiny_label(1), moved)
    refused(image, shifted, tmp_path, r"lie up to 8.7 mm apart")
    negative = write_volume(tmp_path / "negative.nii.gz", tiny_image(1, tiny_label(1)) - 500)
    refused(image, negative, tmp_path, "is no label map: it holds values from -")
    blurred = write_volume(tmp_path / "blurred.nii.gz", tiny_label(1) * np.float32(0.5))
    refused(image, blurred, tmp_path, "blurred.nii.gz.*must be integers")
