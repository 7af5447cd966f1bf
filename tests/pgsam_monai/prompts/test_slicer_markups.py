"""3D Slicer's point lists, as its developer guide shows them."""

import json

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.click_files import ClassClicks, Clicks, read_clicks

NAMES = ("liver", "left kidney", "segment 2")
SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"


def markups(*points: dict, **changes) -> dict:
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return {"@schema": SCHEMA, "markups": [{**markup, **changes}]}


def point(label: str, position=(1, 2, 3), **more) -> dict:
    return {"label": label, "position": list(position), "positionStatus": "defined", **more}


def test_labels_of_points_name_the_class():
    data = markups(point("liver-1"), point("Left Kidney"), point("segment 2"), point("liver_2", (4, 5, 6)))
    assert read_clicks(data, names=NAMES) == Clicks(
        labels={
            "liver": ClassClicks(positive=((-1, -2, 3), (-4, -5, 6))),
            "left kidney": ClassClicks(positive=((-1, -2, 3),)),
            "segment 2": ClassClicks(positive=((-1, -2, 3),)),
        },
        space="RAS",
    )
    assert set(read_clicks(data).labels) == {"liver", "Left Kidney", "segment"}


def test_coordinates_are_those_the_file_says():
    clicks = read_clicks(markups(point("liver"), coordinateSystem="RAS"), names=NAMES)
    assert clicks.labels["liver"].positive == ((1, 2, 3),)
    unsaid = markups(point("liver"))
    del unsaid["markups"][0]["coordinateSystem"]  # LPS by the schema
    assert read_clicks(unsaid, names=NAMES).labels["liver"].positive == ((-1, -2, 3),)


def test_the_files_name_stands_in_for_slicers_default_labels(tmp_path):
    for name in ("liver.mrk.json", "Liver_1.mrk.json"):
        (tmp_path / name).write_text(json.dumps(markups(point("F-1"), point("background-1", (0, 0, 0)))))
        labels = read_clicks(tmp_path / name, names=NAMES).labels
        assert labels == {"liver": ClassClicks(positive=((-1, -2, 3),), negative=((0, 0, 0),))}
    (tmp_path / "liver.mrk.json").write_text(json.dumps(markups(point("background"))))
    labels = read_clicks(tmp_path / "liver.mrk.json", names=NAMES).labels
    assert labels == {"liver": ClassClicks(negative=((-1, -2, 3),))}


def test_negative_points():
    data = markups(
        point("liver-1"),
        point("liver-2", (4, 5, 6), description="Negative"),
        point("left kidney", (7, 8, 9)),
        point("background", (0, 0, 0)),
    )
    labels = read_clicks(data, names=NAMES).labels
    assert labels["liver"].negative == ((-4, -5, 6), (0, 0, 0))
    assert labels["left kidney"].negative == ((0, 0, 0),)


def test_points_without_a_place_are_left_out():
    data = markups(point("liver"), {"label": "liver-2", "position": [], "positionStatus": "undefined"})
    assert len(read_clicks(data, names=NAMES).labels["liver"].positive) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (markups(point("livr-1")), r"control point 'livr-1': 'livr' is no class.*did you mean 'liver'\?"),
        (markups(point("liver", (1, 2))), "control point 1, entry 1: must be 3 numbers"),
        (markups(point("liver"), type="ROI"), r"must be point lists \(type Fiducial\), got 'ROI'"),
        (markups(point("liver"), coordinateSystem="IJK"), "coordinateSystem must be LPS or RAS, got 'IJK'"),
        (markups(point("liver"), coordinateUnits="um"), "coordinateUnits must be mm, got 'um'"),
        ({"markups": ["liver"]}, "must be a list of objects"),
        *(
            ({"markups": value}, "'markups': must be a list of objects")
            for value in (7, True, "x", {}, [[]], [None])
        ),
        *(
            (markups(controlPoints=value), "'controlPoints': must be")
            for value in (7, "x", {"a": 1}, [1], [[]])
        ),
        *((markups(point("liver"), coordinateUnits=value), "must be mm") for value in (7, None, {}, [])),
        (markups(), "has no clicks"),
    ],
)
def test_faults_are_named(data, message):
    with pytest.raises(UserFault, match=message):
        read_clicks(data, names=NAMES)
