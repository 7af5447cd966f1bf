"""What clients send, read and refused; and label maps made as they want them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dataset_builders import OBLIQUE, tiny_label, write_volume
from PIL import Image

from pgsam_monai.base.errors import UserFault
from pgsam_monai.label.faults import status_and_sentence
from pgsam_monai.label.tasks.inference_request import (
    CLICK_LIMIT,
    Delivery,
    find_image,
    read_class_texts,
    read_deepedit,
    read_deepgrow,
    read_delivery,
    read_text,
    refuse_texts,
)
from pgsam_monai.label.tasks.open_images import state_of
from pgsam_monai.label.tasks.results import cast, send_file
from pgsam_monai.voxels.result import LabelResult

CLICK = [[1, 2, 3]]
NAMES = ["Liver", "left kidney"]
TEXTS = {"background": ["All else."], "Liver": ["A wedge.", "A large organ."], "left kidney": ["A bean."]}


def refused(call, *given, **more):
    """Status and sentence."""
    with pytest.raises(UserFault) as caught:
        call(*given, **more)
    status, sentence = status_and_sentence(caught.value)
    assert "\n" not in sentence and 20 < len(sentence) < 500, sentence
    return status, sentence


def test_slicers_and_empty_wishes_for_the_result_are_read():
    assert read_delivery({}) == Delivery(extension=None, dtype=None, values="consecutive")
    slicer = {
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "label_values": "consecutive",
        "client_id": "u",
    }
    assert read_delivery(slicer) == Delivery(extension=".nrrd", dtype="uint8", values="consecutive")
    assert (
        read_delivery({"label_values": ["original", "consecutive"], "result_dtype": ""}).values == "original"
    )


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"label_values": "slicer"}, "consecutive, original"),
        ({"result_dtype": 5}, "result_dtype must be text"),
    ],
)
def test_other_wishes_are_refused(request_, says):
    assert says in refused(read_delivery, request_)[1]


def test_a_text_is_read_and_an_empty_field_is_none():
    assert read_text({"text": ""}) is read_text({}) is None
    assert read_text({"text": " the liver "}) == "the liver"


@pytest.mark.parametrize("text", ["  ", 5, ["liver"], {"a": 1}])
def test_what_holds_no_words_is_refused(text):
    status, sentence = refused(read_text, {"text": text})
    assert status == 422 and "text with words" in sentence


def test_a_huge_text_is_refused():
    status, sentence = refused(read_text, {"text": "liver " * 100_000})
    assert status == 413 and "at most 1000" in sentence


def read_texts(request):
    return read_class_texts(request, TEXTS, source="Bundle 'b'")


def test_class_texts_that_were_not_changed_mean_the_bundles_own():
    shown = {f"text:{name}": texts[0] for name, texts in TEXTS.items()}
    assert read_texts(shown) == read_texts({}) == read_texts({"texts": {}}) == {}
    assert read_texts({"texts": {"Liver": TEXTS["Liver"]}}) == {}


def test_changed_class_texts_are_read_from_fields_and_from_programs():
    assert read_texts({"text:Liver": "A ball.", "text:left kidney": "A bean."}) == {"Liver": ["A ball."]}
    assert read_texts({"texts": {"Liver": "A ball.", "left kidney": ["One.", "Two."]}}) == {
        "Liver": ["A ball."],
        "left kidney": ["One.", "Two."],
    }


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"text:liver": "A ball."}, 422, "no class 'liver'; did you mean 'Liver'?"),
        ({"texts": {"heart": "A ball."}}, 422, "no class 'heart'"),
        ({"texts": {"Liver": 3}}, 422, "'Liver' must be a text with words"),
        ({"texts": {"Liver": []}}, 400, "'Liver': give a text"),
        ({"texts": "A ball."}, 400, "class name to text"),
        ({"text:Liver": ""}, 422, "text:Liver must be a text with words"),
        ({"texts": {"Liver": "x" * 1001}}, 413, "at most 1000"),
        ({"texts": {"y" * 10_000: "x"}}, 422, "no class"),
    ],
)
def test_wrong_class_texts_are_refused(request_, status, says):
    got, sentence = refused(read_class_texts, request_, TEXTS, source="Bundle 'b'")
    assert got == status and says in sentence


def test_words_for_a_bundle_that_reads_none_are_refused_and_empty_fields_are_not():
    refuse_texts({"text": "", "texts": {}, "image": "a"}, source="Bundle 'b'")
    for request in ({"text": "liver"}, {"texts": {"Liver": "x"}}, {"text:Liver": "x"}):
        assert "Bundle 'b' reads no texts" in refused(refuse_texts, request, source="Bundle 'b'")[1]


def clicks_of(prompting):
    return {
        name: (list(said.positive), list(said.negative), list(said.boxes))
        for name, said in prompting.clicks.labels.items()
    }


def test_deepedit_as_3d_slicer_sends_it():
    request = {
        "model": "m_deepedit", "image": "scan", "result_extension": ".nrrd", "client_id": "user", "label": "liver",
        "Liver": [[1, 2, 3]], "left kidney": [], "spleen": [], "background": [[4, 5, 6]], "propagate": False,
        "background_shows": "everything", "device": "cpu", "label_values": "consecutive", "reset_state": True,
    }  # fmt: skip
    prompting = read_deepedit(request, NAMES)
    assert clicks_of(prompting) == {"Liver": ([(1, 2, 3)], [], []), "background": ([], [(4, 5, 6)], [])}
    assert (prompting.label, prompting.propagate, prompting.background) == (None, False, "everything")


def test_deepedit_as_ohif_sends_it_with_lower_case_names():
    prompting = read_deepedit({"background": [], "liver": [[1, 2, 3.5]]}, NAMES)
    assert clicks_of(prompting) == {"Liver": ([(1, 2, 3.5)], [], [])}


@pytest.mark.parametrize(
    "request_", [{}, {"Liver": [], "background": [], "roi": []}, {"Liver": None, "roi": None}]
)
def test_deepedit_without_clicks_asks_for_the_automatic_result(request_):
    assert read_deepedit(request_, NAMES).clicks is None


def test_deepedit_may_be_told_only_where_no_class_is():
    assert clicks_of(read_deepedit({"background": CLICK}, NAMES)) == {"background": ([], [(1, 2, 3)], [])}


def test_a_roi_is_a_box_of_its_label():
    prompting = read_deepedit(
        {"roi": [9, 1, 8, 2, 7, 3], "label": "Liver", "left kidney": [[1, 1, 1]]}, NAMES
    )
    assert clicks_of(prompting) == {
        "left kidney": ([(1, 1, 1)], [], []),
        "Liver": ([], [], [(9, 1, 8, 2, 7, 3)]),
    }
    assert clicks_of(read_deepgrow({"roi": [1, 2, 3, 4, 5, 6], "label": 2}, NAMES, [1, 2])) == {
        "left kidney": ([], [], [(1, 2, 3, 4, 5, 6)])
    }


@pytest.mark.parametrize("label", ["left kidney", "Left Kidney", 420])
def test_deepgrow_is_about_the_class_of_a_name_or_value(label):
    request = {"foreground": [[1, 2, 3]], "background": [[4, 5, 6]], "label": label, "propagate": 3}
    prompting = read_deepgrow(request, NAMES, [205, 420])
    assert clicks_of(prompting) == {
        "left kidney": ([(1, 2, 3)], [], []),
        "background": ([], [(4, 5, 6)], []),
    }
    assert (prompting.label, prompting.propagate, prompting.background) == ("left kidney", 3, "empty")


def test_deepgrow_needs_no_label_where_there_is_one_class():
    assert read_deepgrow({"foreground": [[1, 2, 3]]}, ["tumour"], [1]).label == "tumour"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"spleen": CLICK}, "'spleen' has clicks and is no class"),
        ({"Liver": [[1, 2]]}, "must be 3 numbers"),
        ({"Liver": [1, 2, 3]}, "must be 3 numbers"),
        ({"Liver": [["1", "2", "3"]]}, "must be 3 numbers"),
        ({"Liver": [[float("nan"), 1, 1]]}, "must be 3 numbers"),
        ({"Liver": [[float("inf"), 1, 1]]}, "must be 3 numbers"),
        ({"Liver": "x" * 100_000}, "must be a list of points"),
        ({"Liver": {"a": 1}}, "must be a list of points"),
        ({"Liver": CLICK * (CLICK_LIMIT + 1)}, f"at most {CLICK_LIMIT}"),
        ({"Liver": CLICK, "background": CLICK * CLICK_LIMIT}, f"at most {CLICK_LIMIT}"),
        ({"Liver": CLICK, "background": 7}, "must be a list of points"),
        ({"Liver": CLICK, "liver": CLICK}, "two lists"),
        ({"roi": [1, 2, 3, 4, 5, 6]}, "'label' must say which class"),
        ({"roi": [1, 2, 3], "label": "Liver"}, "must be 6 numbers"),
        ({"roi": "abc", "label": "Liver"}, "must be 6 numbers"),
        ({"Liver": CLICK, "space": "mm"}, '"space" must be one of'),
        ({"Liver": CLICK, "propagate": 0.5}, "propagate must be"),
        ({"Liver": CLICK, "propagate": -2}, "propagate must be"),
        ({"Liver": CLICK, "background_shows": "all"}, "background_shows must be one of"),
    ],
)
def test_wrong_deepedit_requests_are_refused(request_, says):
    status, sentence = refused(read_deepedit, request_, NAMES)
    assert says in sentence and status in (400, 422)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({}, "'label' must say which class is meant: 'Liver' (1), 'left kidney' (2)"),
        ({"label": "Liver"}, "Give at least one click in 'foreground'"),
        ({"label": "Liver", "background": CLICK}, "Give at least one click"),
        ({"label": "heart", "foreground": CLICK}, "'heart' is no class"),
        ({"label": 3, "foreground": CLICK}, "label 3 is no class"),
        ({"label": True, "foreground": CLICK}, "label True is no class"),
        ({"label": ["Liver"], "foreground": CLICK}, "is no class"),
        ({"label": "Liver", "foreground": [[[1, 2, 3]]]}, "must be 3 numbers"),
    ],
)
def test_wrong_deepgrow_requests_are_refused(request_, says):
    assert says in refused(read_deepgrow, request_, NAMES, [1, 2])[1]


def make_result(folder, source="scan.nii.gz", values=(0, 205, 420), affine=OBLIQUE):
    voxels = tiny_label(1, values=values).astype(np.uint16)
    write_volume(folder / source, voxels.astype(np.int16), affine)
    return LabelResult(
        voxels=voxels,
        affine=affine,
        source=str(folder / source),
        names=["background", *NAMES],
        values=list(values),
    )


def test_consecutive_values_number_the_classes_in_their_order(tmp_path):
    result = make_result(tmp_path)
    numbered = result.consecutive()
    assert numbered.label_names == {"Liver": 1, "left kidney": 2} and numbered.voxels.dtype == np.uint8
    assert np.array_equal(numbered.voxels, np.searchsorted([0, 205, 420], result.voxels))
    assert numbered.consecutive() is numbered
    background_last = make_result(tmp_path, values=(255, 0, 128)).consecutive()
    assert set(np.unique(background_last.voxels)) <= {0, 1, 2} and background_last.label_names["Liver"] == 1


def test_one_class_alone_is_1_or_its_own_value(tmp_path):
    result = make_result(tmp_path)
    one = result.only("left kidney")
    assert one.label_names == {"left kidney": 420} and set(np.unique(one.voxels)) == {0, 420}
    assert one.consecutive().label_names == {"left kidney": 1}
    assert np.array_equal(one.consecutive().voxels == 1, result.voxels == 420)


def test_types_are_changed_only_if_they_hold_the_values(tmp_path):
    result = make_result(tmp_path)
    assert cast(result, "float32").voxels.dtype == np.float32 and cast(result, None) is result
    assert cast(result.consecutive(), "uint8").voxels.dtype == np.uint8
    status, sentence = refused(cast, result, "uint8")
    assert status == 422 and "0 to 420; use 'uint16'" in sentence
    for dtype in ("complex64", "nonsense", "O", "float16"):
        assert "must be one of uint8" in refused(cast, result, dtype)[1]


@pytest.mark.parametrize("extension", [None, ".nii.gz", ".nii", ".nrrd", "nrrd", ".mha"])
@pytest.mark.parametrize("source", ["scan.nii.gz", "scan.nrrd", "scan.mhd"])
def test_results_are_sent_in_the_kind_that_is_asked_for_on_the_same_grid(
    tmp_path, monkeypatch, extension, source
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    result = make_result(tmp_path, source)
    file = send_file(result, extension)
    assert list((tmp_path / "temporary").iterdir()) == [file]
    default = {"scan.nii.gz": ".nii.gz", "scan.nrrd": ".nrrd", "scan.mhd": ".mha"}[source]
    assert file.name.endswith(extension or default)
    image = sitk.ReadImage(str(file))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, result.voxels)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ OBLIQUE
    corner = [float(n - 1) for n in result.voxels.shape]
    expected = (lps @ [*corner, 1.0])[:3]
    assert np.abs(np.array(image.TransformContinuousIndexToPhysicalPoint(corner)) - expected).max() < 1e-3
    assert np.abs(np.array(image.GetOrigin()) - lps[:3, 3]).max() < 1e-4


def test_kinds_that_cannot_hold_the_result_are_refused_and_leave_no_file(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert "come as .nii.gz, .nii, .nrrd, .mha" in refused(send_file, make_result(tmp_path), ".png")[1]
    skewed = OBLIQUE.copy()
    skewed[:3, 0] += 0.3 * skewed[:3, 1]
    result = make_result(tmp_path, affine=skewed)
    assert "axes are skewed" in refused(send_file, result, ".nrrd")[1]
    assert not list((tmp_path / "temporary").iterdir())
    assert np.allclose(nib.load(send_file(result, ".nii")).affine, skewed, atol=1e-4)


def test_pictures_come_back_as_pictures(tmp_path):
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "photo.png")
    voxels = np.zeros((6, 5, 1), np.uint8)
    voxels[1:3, 2] = 2
    result = LabelResult(
        voxels=voxels, affine=np.eye(4), source=str(tmp_path / "photo.png"), names=["background", "a", "b"],
        values=[0, 1, 2],
    )  # fmt: skip
    file = send_file(result)
    assert file.suffix == ".png" and np.array_equal(np.asarray(Image.open(file)), voxels[..., 0])
    file.unlink()
    assert "come as .png" in refused(send_file, result, ".nrrd")[1]
    assert "must be one of uint8, uint16, int32" in refused(cast, result, "float32")[1]


def test_images_are_found_and_others_refused(tmp_path):
    one = write_volume(tmp_path / "one/scan.nii.gz", tiny_label(1))
    write_volume(tmp_path / "two/a.nii.gz", tiny_label(1))
    write_volume(tmp_path / "two/b.nii.gz", tiny_label(2))
    for channel in range(2):
        write_volume(tmp_path / f"channels/x_{channel:04d}.nii.gz", tiny_label(1))
    assert find_image(str(one), channels=1) == str(one)
    assert find_image(tmp_path / "one", channels=1) == str(one)
    assert len(find_image(tmp_path / "channels", channels=2)) == 2
    assert find_image([str(one), str(one)], channels=2) == [str(one)] * 2
    assert refused(find_image, "nonesuch", channels=1)[0] == 404
    assert refused(find_image, ["nonesuch", str(one)], channels=2)[0] == 404
    assert "holds 2 images" in refused(find_image, tmp_path / "two", channels=1)[1]
    (tmp_path / "empty").mkdir()
    assert refused(find_image, tmp_path / "empty", channels=1)[0] == 404
    for image in ("", None, [], np.zeros(3), [1, 2]):
        assert "named by its id" in refused(find_image, image, channels=1)[1]


def test_a_changed_file_is_another_state(tmp_path):
    file = write_volume(tmp_path / "scan.nii.gz", tiny_label(1))
    before = state_of(file), state_of(tmp_path)
    write_volume(file, tiny_label(2, shape=(12, 10, 9)))
    assert state_of(file) != before[0] and state_of(tmp_path) != before[1]
