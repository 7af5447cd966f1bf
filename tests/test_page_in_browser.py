"""The page in a real browser: the overlay is on the right slice at the right place, in the right colours."""

import nibabel as nib
import numpy as np
import pytest
from chromium_driver import chromium, find_chromium
from page_on_screen import (
    AFFINE,
    LABELS,
    PLAIN,
    SHAPE,
    assert_shows,
    centres,
    colours_at,
    middle,
    set_slider,
    view_of,
    where,
    write_random_case,
)
from PIL import Image
from shared_data import shared_data

from pgsam_monai.base.colours import colour_of
from pgsam_monai.pictures.overlays import make_view
from pgsam_monai.pictures.page.write import write_page

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as started:
        yield started


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_random_case(tmp_path_factory.mktemp("case"))


@pytest.mark.parametrize("plane, slice_", [("axial", 0), ("axial", 6), ("coronal", 3), ("sagittal", 9)])
def test_the_overlay_is_on_the_right_slice_at_the_right_place(browser, case, plane, slice_):
    page = browser.open(case.page, link=f"plane={plane}&slice={slice_ + 1}&opacity=0.6&reference=0&{PLAIN}")
    assert where(page, plane) == f"{plane.capitalize()} {slice_ + 1} / {len(view_of(case, plane).image)}"
    assert_shows(page, case, plane, slice_, 0.6)
    page.close()


def test_three_planes_at_once_meet_in_the_crosshair(browser, case):
    voxel = (4, 6, 2)
    page = browser.open(case.page, link=f"at=4,6,2&opacity=0.5&reference=0&{PLAIN}", size=(1400, 900))
    for plane, (slice_, _, _) in zip(
        ("axial", "coronal", "sagittal"), ((2, 0, 0), (4, 0, 0), (SHAPE[1] - 1 - 6, 0, 0)), strict=True
    ):
        assert where(page, plane) == f"{plane.capitalize()} {slice_ + 1} / {len(view_of(case, plane).image)}"
        assert_shows(page, case, plane, slice_, 0.5)
    mm = nib.affines.apply_affine(AFFINE, voxel)
    told = page.text("#readout")
    assert told.startswith(f"voxel 4, 6, 2  ·  {', '.join(f'{x:.1f}' for x in mm)} mm RAS")
    assert f"value {case.image[voxel]}" in told
    page.close()


def test_what_is_unpacked_is_what_was_written(browser, case):
    page = browser.open(case.page)
    view = view_of(case, "axial")
    grey = np.array(page.evaluate("Array.from(greys[0])")).reshape(view.image.shape)
    assert np.array_equal(page.evaluate("CASE.low") + grey, view.image)
    for role in ("prediction", "reference"):
        places = np.array(page.evaluate(f"Array.from(maps.{role})")).reshape(view.image.shape)
        assert np.array_equal(np.array([0, *LABELS.values()])[places], getattr(view, role))
    page.close()


def test_a_class_goes_and_comes_back(browser, case):
    page = browser.open(case.page, link=f"plane=axial&slice=7&opacity=0.6&reference=0&off=2&{PLAIN}")
    assert_shows(page, case, "axial", 6, 0.6, hidden=(2,))
    page.click("#class-2")
    assert_shows(page, case, "axial", 6, 0.6)
    page.click("#class-5")
    assert_shows(page, case, "axial", 6, 0.6, hidden=(5,))
    page.click("#none")
    assert_shows(page, case, "axial", 6, 0.6, hidden=(2, 5))
    page.click("#all")
    assert_shows(page, case, "axial", 6, 0.6)
    page.evaluate("document.activeElement.blur()")
    page.key(" ")
    assert_shows(page, case, "axial", 6, 0.0)
    page.close()


def test_opacity(browser, case):
    page = browser.open(case.page, link=f"plane=axial&slice=7&opacity=0.2&reference=0&{PLAIN}")
    assert_shows(page, case, "axial", 6, 0.2)
    set_slider(page, "#opacity", 0.9)
    assert_shows(page, case, "axial", 6, 0.9)
    page.key("[")
    assert_shows(page, case, "axial", 6, 0.8)
    assert page.text("#opacity + output") == "80 %"
    page.close()


def test_outlines_leave_the_inside_free(browser, tmp_path):
    """A square of 6 x 6 voxels: its rim has the class's colour, its inside and all outside the image's."""
    label = np.zeros((12, 12, 4), np.uint8)
    label[3:9, 3:9, 1] = 1
    for name, voxels in (("image", np.full(label.shape, 50, np.int16)), ("label", label)):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    file = write_page(
        tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", file=tmp_path / "p.html", window=(0, 100)
    )
    page = browser.open(file, link="plane=axial&slice=2&draw=outline&cross=0")
    grey, coloured = np.full(3, 128), np.array(colour_of(0))
    places = centres(page, "axial", (12, 12), (1.0, 1.0))
    half = (places[1, 0, 0] - places[0, 0, 0]) / 2
    shot = page.screenshot().astype(int)

    def at(row, column, down=0.0, right=0.0):
        y, x = places[row, column] + np.array([down, right])
        return shot[int(y), int(x)]

    for cell in ((5, 5), (3, 3), (8, 8), (2, 5), (5, 9)):
        assert np.abs(at(*cell) - grey).max() <= 2, cell
    for cell, down, right in (((3, 5), -1, 0), ((8, 5), 1, 0), ((5, 3), 0, -1), ((5, 8), 0, 1)):
        inside = at(*cell, down * (half - 1), right * (half - 1))
        outside = at(*cell, down * (half + 2), right * (half + 2))
        assert np.abs(inside - coloured).max() <= 40 and np.abs(outside - grey).max() <= 2, cell
    page.key("f")  # both
    assert page.evaluate("state.draw") == "both"
    page.close()


def test_a_reference_is_compared(browser, case):
    page = browser.open(case.page, link=f"plane=axial&slice=7&prediction=0&{PLAIN}")
    with_outlines = page.screenshot().astype(int)
    page.key("r")
    without = page.screenshot().astype(int)
    left, top, width, height = (int(n) for n in page.box('[data-plane="axial"] canvas'))
    changed = np.abs(with_outlines - without).max(axis=-1)[top : top + height, left : left + width] > 60
    assert 0.01 < changed.mean() < 0.6
    cells = page.evaluate(
        "[...document.querySelectorAll('#classes tbody tr')].map((r) => r.lastChild.textContent)"
    )
    a, b = case.prediction, case.reference
    dice = [2 * np.sum((a == v) & (b == v)) / (np.sum(a == v) + np.sum(b == v)) for v in (2, 5)]
    assert cells == [*(f"{value:.3f}" for value in dice), "–"]
    page.close()


def test_windows_show_lung_and_soft_tissue(browser, tmp_path):
    """Stripes of air, lung, fat, liver and bone: each window tells apart what it is for."""
    tissue = np.array([-1000, -850, -700, -100, 40, 100, 700, 1200], np.int16)
    volume = np.tile(tissue[:, None, None], (1, 8, 8))
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), tmp_path / "none.nii.gz")
    file = write_page(tmp_path / "ct.nii.gz", tmp_path / "none.nii.gz", file=tmp_path / "page.html")
    page = browser.open(file, link="plane=axial&slice=1&cross=0&smooth=0")
    for n, (low, high) in enumerate([(-160, 240), (-1350, 150), (-500, 1300)]):
        page.click(f"#windows button:nth-child({n + 1})")
        shown = colours_at(page, "axial", (8, 8), (1.0, 1.0))[0, :, 0]
        stripes = tissue[::-1].astype(float)  # i runs to the patient's right, which is shown on the left
        expected = np.clip(255 * (stripes - low) / (high - low), 0, 255)
        assert np.abs(shown - expected).max() <= 1
    level = page.text("#level + output")
    x, y = middle(page)
    page.press(x, y, to=(x + 40, y + 60), button="right")
    assert page.text("#level + output") != level and page.text("#width + output") != "1,800"
    assert page.text("aside p").startswith("The label map is empty")
    page.close()


def test_pictures_show_in_their_colours(browser, tmp_path):
    random = np.random.default_rng(2)
    picture, mask = random.integers(0, 256, (10, 16, 3), np.uint8), np.zeros((10, 16), np.uint8)
    mask[2:5, 6:12] = 1
    Image.fromarray(picture).save(tmp_path / "eye.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    file = write_page(tmp_path / "eye.png", tmp_path / "mask.png", file=tmp_path / "page.html")
    page = browser.open(file, link="smooth=0&opacity=0.5&draw=fill")
    expected = picture.astype(float)
    expected[mask == 1] += 0.5 * (np.array(colour_of(0)) - expected[mask == 1])
    assert np.abs(colours_at(page, "stored", (10, 16), (1.0, 1.0)) - expected).max() <= 2
    assert (
        where(page, "stored") == "Picture" and page.evaluate("document.querySelectorAll('.view').length") == 1
    )
    y, x = centres(page, "stored", (10, 16), (1.0, 1.0))[3, 7]
    page.press(float(x), float(y))
    red, green, blue = picture[3, 7]
    assert page.text("#readout") == f"row 3, column 7  ·  value {red}, {green}, {blue}  ·  label 1"
    page.close()


def test_a_real_ct(browser, tmp_path):
    folder = shared_data("ct/totalsegmentator_example")
    image, label = folder / "image.nii.gz", folder / "label.nii.gz"
    file = write_page(image, label, file=tmp_path / "ct.html", labels={"spleen": 1, "liver": 5})
    page = browser.open(file, link=f"plane=axial&slice=25&opacity=1&{PLAIN}", size=(1200, 800))
    labels, affine = np.asarray(nib.load(label).dataobj).astype(int), nib.load(label).affine
    view = make_view(labels, labels, None, affine, "axial")
    shown = colours_at(page, "axial", view.image.shape[1:], view.pixel)
    for index, value in enumerate((1, 5)):
        coloured = np.abs(shown - np.array(colour_of(index))).max(axis=-1) <= 3
        assert np.array_equal(coloured, view.prediction[24] == value) and coloured.sum() > 100
    page.close()
