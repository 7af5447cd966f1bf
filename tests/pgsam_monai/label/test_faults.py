import json

import pytest
import torch

from pgsam_monai.base.volume import ReadError
from pgsam_monai.bundle import WeightsFault
from pgsam_monai.label.faults import RequestFault, is_unexpected, status_and_sentence
from pgsam_monai.label.fields import image_in_folders, json_object, known_name, plain_name, session_name


class Kind:
    def __init__(self, name):
        self.name = name


class MONAILabelException(Exception):
    """As MONAI Label's: its words are in `msg`, and str() gives a pair."""

    def __init__(self, error, msg):
        super().__init__(error, msg)
        self.error, self.msg = error, msg


class ImageNotFoundException(MONAILabelException):
    pass


@pytest.mark.parametrize(
    "fault, status, said",
    [
        (RequestFault("No image was named."), 400, "No image was named."),
        (RequestFault("Too much.", status=413), 413, "Too much."),
        (ReadError("x.nii.gz", "can't be read."), 422, "x.nii.gz: can't be read"),
        (
            ImageNotFoundException(Kind("APP_ERROR"), "Image a not found"),
            404,
            "Image a not found; GET /datastore",
        ),
        (MONAILabelException(Kind("INVALID_INPUT"), "no model 'x'"), 404, "no model 'x'; GET /info/"),
        (
            MONAILabelException(Kind("INFERENCE_ERROR"), "it broke"),
            500,
            "MONAILabelException: it broke; see the server's log.",
        ),
        (
            WeightsFault("Bundle 'a' has lost its weights; train it."),
            503,
            "Bundle 'a' has lost its weights; train it",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried …"), 503, '{"device": "cpu"}'),
        (MemoryError(), 503, "more memory"),
        (KeyError("pred"), 500, "KeyError: 'pred'; see the server's log."),
        (ValueError("first line\nsecond line"), 500, "ValueError: first line; see the server's log."),
        (ZeroDivisionError(), 500, "ZeroDivisionError: ZeroDivisionError; see"),
    ],
)
def test_status_and_sentence(fault, status, said):
    found, sentence = status_and_sentence(fault)
    assert found == status and said in sentence and "\n" not in sentence
    assert is_unexpected(fault) == (status >= 500)


def test_monais_wrappers_are_looked_through():
    try:
        try:
            raise ReadError("x.nii.gz", "is no image.")
        except ReadError as inner:
            raise RuntimeError("applying transform <LoadCased object>") from inner
    except RuntimeError as wrapped:
        assert status_and_sentence(wrapped) == (422, "x.nii.gz: is no image")


def test_a_long_message_is_cut():
    _, sentence = status_and_sentence(RuntimeError("x" * 10_000))
    assert len(sentence) < 500


@pytest.mark.parametrize("name", ["case_1", "scan.v2", "Leber 3 (alt)", "äöü", "1.2.840.10008"])
def test_plain_names(name):
    assert plain_name("image", name) == name


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".hidden", "", "a\0b", "a\nb", "x" * 300, 7, None, "a..b", "C:\\x"]
)
def test_names_that_would_lead_elsewhere(name):
    with pytest.raises(RequestFault, match="image takes a name of at most"):
        plain_name("image", name)


def test_json_objects():
    assert json_object("params", '{"device": "cpu"}') == {"device": "cpu"}
    assert json_object("params", "") == json_object("params", None) == {}
    for text in ("[1]", "7", '"a"', "null"):
        with pytest.raises(RequestFault, match="must be a JSON object"):
            json_object("params", text)
    with pytest.raises(RequestFault, match="params must be JSON, and it isn't") as fault:
        json_object("params", "{" + "x" * 10_000)
    assert len(str(fault.value)) < 400


def test_known_names_and_sessions():
    assert known_name("model", "a", {"a": 1}) == "a"
    with pytest.raises(RequestFault, match="There is no model 'b' here; there are a.") as fault:
        known_name("model", "b", {"a": 1})
    assert fault.value.status == 404
    with pytest.raises(RequestFault, match="there is none"):
        known_name("model", "b", {})
    good = "c0ffee00-1234-11ef-9abc-0242ac120002"
    assert session_name(good) == good
    with pytest.raises(RequestFault, match="There is no session"):
        session_name("../../etc")


def test_images_are_found_in_named_folders_only(tmp_path):
    studies, outside = tmp_path / "studies", tmp_path / "studies_of_others"
    for folder in (studies / "series", outside):
        folder.mkdir(parents=True)
    (studies / "a.nii.gz").touch()
    (outside / "secret.nii.gz").touch()
    (tmp_path / "linked").symlink_to(studies)
    (studies / "link.nii.gz").symlink_to(outside / "secret.nii.gz")  # of whoever keeps the studies
    assert image_in_folders([studies], "a", ["a"]) == "a"
    assert image_in_folders([studies], "series", []) == str(studies / "series")
    assert image_in_folders([studies], str(studies / "series"), []) == str(studies / "series")
    assert image_in_folders([tmp_path / "linked"], str(studies / "a.nii.gz"), []) == str(studies / "a.nii.gz")
    assert image_in_folders([studies], "link.nii.gz", []) == str(studies / "link.nii.gz")
    for image in (
        "../studies_of_others/secret.nii.gz", str(outside / "secret.nii.gz"), "b", ".", "..", "/", "a\0", "",
        str(studies), "series/../..", "series/../../studies_of_others",
    ):  # fmt: skip
        with pytest.raises(RequestFault, match="There is no image") as fault:
            image_in_folders([studies], image, ["a"])
        assert fault.value.status == 404 and json.dumps(str(fault.value))
    both = [studies, outside]
    assert image_in_folders(both, str(outside / "secret.nii.gz"), []) == str(outside / "secret.nii.gz")
    assert image_in_folders(both, "secret.nii.gz", []) == str(outside / "secret.nii.gz")
