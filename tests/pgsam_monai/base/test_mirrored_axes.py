"""Names of axes, and left and right that stay apart."""

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.mirroring import mirrored_axes, sided_names


@pytest.mark.parametrize(
    ("orientation", "names", "axes"),
    [
        ("PLS", ["left-right"], (1,)),
        ("PLS", ["front-back", "up-down"], (0, 2)),
        ("IPR", ["up-down", "front-back"], (0, 1)),
        ("RAS", ["left-right", "front-back", "up-down"], (0, 1, 2)),
        ("PLS", [], ()),
        ("", [], ()),
    ],
)
def test_axes_of_an_orientation(orientation, names, axes):
    assert mirrored_axes(names, orientation, sided=False) == axes


@pytest.mark.parametrize(
    ("orientation", "names", "sided", "said"),
    [
        ("PLS", ["left-right", "up-down"], True, "classes are told by their side"),
        ("", ["up-down"], False, "the files state no orientation"),
        ("PLS", ["updown"], False, "'updown' is no axis; there are .* Did you mean 'up-down'"),
        ("PLS", ["up-down", "up-down"], False, "named twice"),
    ],
)
def test_what_is_refused(orientation, names, sided, said):
    with pytest.raises(UserFault, match=said):
        mirrored_axes(names, orientation, sided=sided)


def test_sided_classes_may_be_mirrored_along_other_axes():
    assert mirrored_axes(["front-back"], "PLS", sided=True) == (0,)


def test_names_that_say_or_mean_a_side():
    names = [
        "background",
        "liver",
        "Kidney_L",
        "LeftKidney",
        "rechte Niere",
        "kidneys",
        "lesion 2",
        "bright spot",
    ]
    assert sided_names(names) == ["Kidney_L", "LeftKidney", "rechte Niere"]
    assert sided_names(["LV", "RV", "Myo"], context="LV RV Myo") == ["LV", "RV"]
    assert sided_names(["Anterior", "Posterior"], context="hippocampus") == []
