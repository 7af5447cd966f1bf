import nibabel as nib
import numpy as np
import pytest
from answering_network import make_model

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.nninteractive import answering
from pgsam_monai.nninteractive.answering import affine_of, load_answering


@pytest.fixture
def published(monkeypatch):
    """What published weights are asked to be."""
    asked = {}

    def from_weights(weights, labels, **options):
        asked.update(weights=weights, labels=labels, **options)
        return Segmenter(make_model(names=["object"], values=[0, 1]))

    monkeypatch.setattr(answering.Segmenter, "from_weights", from_weights)
    return asked


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR", "las"])
def test_the_affine_turns_as_the_letters_say(codes):
    affine = affine_of(codes, (0.5, 2.0, 3.0))
    assert "".join(nib.aff2axcodes(affine)) == codes.upper()
    assert nib.affines.voxel_sizes(affine).tolist() == [0.5, 2.0, 3.0]


@pytest.mark.parametrize("codes", ["", "LP", "LRS", "LPX", "LPSA"])
def test_other_letters_are_refused(codes):
    with pytest.raises(UserFault, match="--orientation takes three letters"):
        affine_of(codes, (1, 1, 1))


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, -1, 1), (1, np.nan, 1), (1, np.inf, 1)])
def test_other_spacings_are_refused(spacing):
    with pytest.raises(UserFault, match="--spacing takes mm above 0"):
        affine_of("LPS", spacing)


def test_published_weights_answer_about_one_object(published):
    made = load_answering("drawn_tiny", window=(-160.0, 240.0), plane="coronal", device="cpu")
    assert published == {
        "weights": "drawn_tiny", "labels": ("object",), "window": (-160.0, 240.0), "plane": "coronal", "device": "cpu",
    }  # fmt: skip
    assert made.label == "object" and made.propagate and made.background == 0
    assert "".join(nib.aff2axcodes(made.affine)) == "LPS"


def test_clicks_go_to_whom_the_segmenter_leaves_them(monkeypatch):
    model, obeys = (make_model(names=["object"], values=[0, 1]) for _ in range(2))
    made = Segmenter(model, corrector=obeys)
    monkeypatch.setattr(answering.Segmenter, "from_weights", lambda *_, **options: made)
    answers = load_answering("lite_medsam")
    assert answers.model is model and answers.corrector is obeys
    assert answers.segmenter().corrector is obeys


def test_what_does_not_go_together_is_refused(published, tmp_path):
    with pytest.raises(UserFault, match="--label names a bundle's class"):
        load_answering("drawn_tiny", label="liver")
    with pytest.raises(UserFault, match="--window belongs to published weights"):
        load_answering(str(tmp_path), window=(0.0, 1.0))
    with pytest.raises(UserFault, match="--plane belongs to published weights"):
        load_answering(str(tmp_path), plane="axial")
    with pytest.raises(UserFault, match="'bundles/none' is neither a bundle's folder nor a name of weights"):
        load_answering("bundles/none")
    with pytest.raises(UserFault):
        load_answering(str(tmp_path))


def test_of_several_classes_one_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(answering, "_of_bundle", lambda *_: Segmenter(make_model()))
    with pytest.raises(UserFault, match="has several labels, say which is meant: liver"):
        load_answering(str(tmp_path))
    assert load_answering(str(tmp_path), label="7").label == "spleen"
