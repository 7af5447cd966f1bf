"""Which classes a request names, and which the nearest known one asks for."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.refsam3d.meaning import Meaning, NamedClasses, nearest_classes
from pgsam_monai.networks.refsam3d.requests import Requests

NAMES = ["background", "left kidney", "spleen", "kidney_right", "liver", "xyzzy"]


@pytest.mark.parametrize(
    "text, classes",
    [
        ("outline the Ren Dexter", {3}),
        ("LIEN", {2}),
        ("spl", {2}),
        ("a spl", None),
        ("the left kidney, please", {1}),
        ("both kidneys", {1, 3}),
        ("any kidney?", {1, 3}),
        ("left and right kidney", {1, 3}),
        ("spleen and Leber", {2, 4}),
        ("liver tumor", set()),
        ("the liver and the pancreas", set()),
        ("client", None),
        ("where is xyzzy?", {5}),
        ("", None),
    ],
)
def test_classes_are_found_by_their_names(text, classes):
    assert NamedClasses(NAMES).of(text) == classes


def test_the_nearest_request_says_what_is_meant_unless_it_is_far():
    requests = Requests([["a"], ["b"], ["c"]], ["x", "spleen", "liver"], templates=("find {name}",))
    assert requests.texts == ["a", "b", "c", "find spleen", "find liver"]
    known = torch.eye(5)
    near, far = torch.tensor([[0.0, 0.5, 0, 2.0, 0]]), torch.ones(1, 5)
    assert nearest_classes(near, known, requests).tolist() == [[False, True, False]]
    assert nearest_classes(far, known, requests).tolist() == [[False, False, False]]


def test_a_request_of_training_means_what_it_was_drawn_for_whatever_else_it_names():
    """A description names neighbours; the background's means nothing that could be asked for."""
    texts = [
        ["All but the spleen."],
        ["The spleen, left of the stomach."],
        ["The stomach, beside the spleen."],
    ]
    meaning = Meaning(Requests(texts, ["background", "spleen", "stomach"]))
    for text, classes in ((texts[0][0], []), (texts[1][0], [1]), ("spleen or stomach", [1, 2])):
        assert meaning.of(text, read=None)[0].nonzero().flatten().tolist() == classes
        assert not meaning.names_another(text)
    assert meaning.names_another("find the liver") and not meaning.names_another("where is it?")
