"""Files of clicks in every accepted shape, and what is said about those that aren't."""

import json

import numpy as np
import pytest
from small_volumes import oblique_affine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.click_files import ClassClicks, Clicks, read_clicks, write_clicks
from pgsam_monai.prompts.frames import in_voxels

NAMES = ("liver", "left kidney", "spleen")
CLICKS = Clicks(
    labels={
        "liver": ClassClicks(positive=((1, 2, 3), (4.5, 5, 6)), negative=((7, 8, 9),)),
        "spleen": ClassClicks(boxes=((9, 1, 2, 8, 3, 3),)),
    }
)


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "new" / "clicks.json"
    write_clicks(file, CLICKS)
    assert read_clicks(file, names=NAMES) == read_clicks(str(file)) == CLICKS
    assert json.loads(file.read_text()) == {
        "space": "voxel",
        "labels": {
            "liver": {"positive": [[1, 2, 3], [4.5, 5, 6]], "negative": [[7, 8, 9]]},
            "spleen": {"boxes": [[9, 1, 2, 8, 3, 3]]},
        },
    }
    assert [path.name for path in file.parent.iterdir()] == ["clicks.json"]


def test_capitals_dont_matter_and_voxels_are_the_default():
    clicks = read_clicks({"labels": {"LIVER": {"positive": [[1, 2, 3]]}}}, names=NAMES)
    assert clicks == Clicks(labels={"liver": ClassClicks(positive=((1, 2, 3),))}, space="voxel")


def test_monai_labels_foreground_and_background():
    data = {"foreground": [[1, 2, 3]], "background": [[4, 5, 6]]}
    expected = ClassClicks(positive=((1, 2, 3),), negative=((4, 5, 6),))
    assert read_clicks(data, names=["liver"]).labels == {"liver": expected}
    assert read_clicks(data).labels == {"foreground": expected}
    assert read_clicks({**data, "label": "Spleen"}, names=NAMES).labels == {"spleen": expected}
    assert read_clicks(data, names=["foreground"]).labels == {"foreground": expected}
    with pytest.raises(UserFault, match='any of liver, left kidney, spleen; say which with "label"'):
        read_clicks(data, names=NAMES)


def test_monai_labels_lists_by_class_and_regions():
    data = {"liver": [[1, 2, 3]], "spleen": [], "background": [[4, 5, 6]]}
    labels = read_clicks(data, names=NAMES).labels
    assert labels["liver"] == ClassClicks(positive=((1, 2, 3),), negative=((4, 5, 6),))
    assert labels["spleen"] == ClassClicks(negative=((4, 5, 6),))
    box = {"roi": [9, 1, 2, 8, 3, 3], "label": "spleen"}
    assert read_clicks(box, names=NAMES).labels == {"spleen": ClassClicks(boxes=((9, 1, 2, 8, 3, 3),))}
    one = {"liver": [[1, 2, 3]], "roi": [9, 1, 2, 8, 3, 3]}
    assert read_clicks(one, names=NAMES).labels["liver"].boxes == ((9, 1, 2, 8, 3, 3),)
    apart = read_clicks({**one, "label": "spleen"}, names=NAMES).labels
    assert not apart["liver"].boxes and apart["spleen"].boxes


@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_millimetres_become_voxels(space):
    affine = oblique_affine()
    flip = np.diag([1, 1, 1, 1] if space == "RAS" else [-1, -1, 1, 1])
    voxels = np.array([[3, 4, 5], [0.5, 6, 2]])
    world = (voxels @ affine[:3, :3].T + affine[:3, 3]) @ flip[:3, :3]
    said = {"positive": world[:1].tolist(), "negative": world[1:].tolist()}
    clicks = in_voxels(read_clicks({"labels": {"liver": said}, "space": space}), affine)
    np.testing.assert_allclose(clicks.labels["liver"].positive, voxels[:1], atol=1e-9)
    np.testing.assert_allclose(clicks.labels["liver"].negative, voxels[1:], atol=1e-9)
    assert clicks.space == "voxel" and in_voxels(clicks, affine) is clicks


def test_boxes_in_millimetres_end_at_faces():
    """Voxels 2 to 4 of 2 mm, the first centred on 0 mm, reach from 3 to 9 mm."""
    affine = np.diag([-2.0, 2, 2, 1])
    box = [3, 9, 9, 3, -1, 1]
    clicks = Clicks(labels={"liver": ClassClicks(boxes=(tuple(box),))}, space="LPS")
    found = in_voxels(clicks, affine).labels["liver"].boxes[0]
    assert found == (2, 4, -4, -2, 0, 0)
    flat = Clicks(labels={"liver": ClassClicks(boxes=((3, 9, 3, 9, 2, 2),))}, space="RAS")
    assert in_voxels(flat, np.diag([2.0, 2, 2, 1])).labels["liver"].boxes[0] == (2, 4, 2, 4, 1, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"labels": {"livre": {}}}, r"'livre' is no class of this model; did you mean 'liver'\?"),
        ({"labels": {"femur": {}}}, "there are 'liver', 'left kidney', 'spleen'"),
        ({"labels": {"liver": {"positve": []}}}, r"'liver': 'positve' is no key; did you mean 'positive'\?"),
        ({"labels": {}, "spce": "RAS"}, r"'spce' is no key; did you mean 'space'\?"),
        ({"labels": {"liver": [[1, 2, 3]]}}, "'liver': must be an object with positive, negative, boxes"),
        ({"labels": [1]}, '"labels" must be an object'),
        (
            {"labels": {"liver": {"positive": [[1, 2]]}}},
            r"positive, entry 1: must be 3 numbers.*got \[1, 2\]",
        ),
        ({"labels": {"liver": {"positive": [1, 2, 3]}}}, "entry 1: must be 3 numbers"),
        ({"labels": {"liver": {"positive": "no"}}}, r"must be a list of points \[i, j, k\], got 'no'"),
        ({"labels": {"liver": {"positive": [[1, 2, True]]}}}, "must be 3 numbers"),
        ({"labels": {"liver": {"positive": [[1, 2, float("nan")]]}}}, "must be 3 numbers"),
        ({"labels": {"liver": {"positive": [[1, 2, 10**400]]}}}, "must be 3 numbers"),
        ({"labels": {"liver": {"positive": "x" * 5000}}}, "^.{,200}$"),
        ({"labels": {"x" * 5000: {}}}, "^.{,200}$"),
        ({"labels": {"liver": {"boxes": [[1, 2, 3]]}}}, "boxes, entry 1: must be 6 numbers"),
        ({"labels": {"liver": {}, "Liver": {}}}, "class 'liver' stands twice"),
        ({"labels": {"liver": {"positive": [[1, 2, 3]]}}, "space": "ras"}, "must be one of voxel, RAS, LPS"),
        ({"labels": {"liver": {}}}, "Clicks has no clicks; add a class"),
        ({"livre": [[1, 2, 3]]}, r"'livre' is no class of this model; did you mean 'liver'\?"),
        (
            {"foreground": [[1, 2, 3]], "label": "kidney"},
            r"'kidney' is no class.*did you mean 'left kidney'\?",
        ),
    ],
)
def test_faults_are_named(data, message):
    with pytest.raises(UserFault, match=message):
        read_clicks(data, names=NAMES)


def test_files_are_named(tmp_path):
    with pytest.raises(UserFault, match=r"Clicks file '.*none.json' can't be read \(No such file"):
        read_clicks(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserFault, match="bad.json' is no JSON"):
        read_clicks(tmp_path / "bad.json")
    for text in ("[" * 100_000, "9" * 5000, '{"labels": {}', "\x00"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserFault, match="bad.json' (is no JSON|must hold)"):
            read_clicks(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserFault, match='must hold a JSON object with "labels", got list'):
        read_clicks(tmp_path / "list.json")
