"""Pictures of the prior: its values, where it lies, that any number of classes fits, and its errors."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet, write_pictures
from monai.data import MetaTensor
from PIL import Image
from tiny_bundle import plan_tiny, run_bundle

from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.pictures.guide_maps import (
    CELL_PX,
    COLUMNS,
    MARGIN_PX,
    OUTLINE,
    SIDE_PX,
    GuidedSlice,
    GuideMapWriter,
    draw_block,
    draw_heat,
    magma,
    network_plane,
    turn_case,
)
from pgsam_monai.pictures.overlays import make_view
from pgsam_monai.predicting.predict import predict


class BrightPrior(torch.nn.Module):
    """W of class 1 is the image itself; the background's is the rest."""

    title, aligner = "PG-SAM", "there"

    def guide_maps(self, image):
        return torch.cat([1 - image, image], dim=1)


def case(tmp_path, *, codes="RAS", shape=(12, 9, 5), dtype=np.uint8):
    """An image (1, i, j, k) whose single bright block is also predicted, stored with the axes `codes`."""
    label = np.zeros(shape, dtype)
    label[2:5, 1:4, 3] = 7
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), shape) @ np.eye(4)
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "case.nii.gz")
    return MetaTensor(torch.from_numpy((label == 7)[None]).half(), affine=affine), tmp_path / "case.nii.gz"


def writer(image_size=16, fit="stretch"):
    inferer = SliceInferer(image_size, fit, precision="fp32")
    labels = {"background": 0, "organ": 7}
    return GuideMapWriter(network=BrightPrior(), inferer=inferer, labels=labels, device=torch.device("cpu"))


def shown_slices(monkeypatch, tmp_path, image, prediction, **settings):
    kept = {}

    def keep(slices, **given):
        kept.update(given, slices=slices)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr("pgsam_monai.pictures.guide_maps.draw_guide_page", keep)
    writer(**settings).write(image, prediction, folder=tmp_path / "out", name="case")
    return kept["slices"]


@pytest.mark.parametrize("codes", ["RAS", "PLS", "LPI", "SAR"])
@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_the_prior_lies_on_the_slice_as_it_is_displayed(monkeypatch, tmp_path, codes, fit):
    """With this network W is the slice as fitted and un-fitted, so it must be bright where the block is drawn."""
    image, prediction = case(tmp_path, codes=codes)
    slices = shown_slices(monkeypatch, tmp_path, image, prediction, image_size=32, fit=fit)
    (block,) = [one for one in slices if (one.label_map == 7).any()]
    assert np.array_equal(block.grey == 1, block.label_map == 7)
    assert block.weights.shape == (2, *block.grey.shape)
    assert block.weights[1][block.label_map == 7].min() > 0.5 > block.weights[1][block.label_map == 0].mean()
    assert np.allclose(block.weights.sum(axis=0), 1, atol=1e-6)
    assert block.title.endswith(" of 5")


def test_slices_are_found_again_after_turning(tmp_path):
    image, prediction = case(tmp_path, codes="RAI")
    view, order = turn_case(image, prediction)
    assert view.plane == "axial" and order == [4, 3, 2, 1, 0]
    assert view.prediction[1].max() == 7 and view.image[1].max() == 1


def test_the_plane_is_the_networks():
    assert network_plane((4, 4, 2), np.diag([-1.0, -1, 5, 1])) == "axial"
    sagittal = np.eye(4)[[2, 0, 1, 3]]
    assert network_plane((4, 4, 2), sagittal) == "sagittal"
    assert network_plane((4, 4, 2), np.eye(4)[[0, 2, 1, 3]]) == "coronal"
    assert network_plane((4, 4, 1), np.eye(4)) == "none"


def test_magma_at_hand_picked_values():
    assert magma(np.array([0.0, 0.5, 1.0])).tolist() == [[0, 0, 4], [182, 54, 121], [252, 253, 191]]
    assert np.array_equal(magma(np.array([0.0625])), [[14.5, 8.5, 37.5]])


def make_slice(classes, shape=(8, 8)):
    weights = np.linspace(0, 1, classes + 1)[:, None, None] * np.ones((1, *shape))
    label_map = np.zeros(shape, int)
    label_map[2:6, 2:6] = 1
    return GuidedSlice(title="axial 1 of 2", grey=np.full(shape, 0.5), label_map=label_map, weights=weights)


def view_of(shown, affine=None):
    array = shown.grey[..., None]
    return make_view(array, shown.label_map[..., None], None, np.diag([1.0, 1, 3, 1]), "axial")


def test_a_heat_map_mixes_slice_and_magma_and_outlines_the_prediction():
    heat = np.asarray(draw_heat(make_slice(1), 1, 1, (1.0, 1.0)))
    assert heat.shape == (SIDE_PX, SIDE_PX, 3)
    assert heat[0, 0].tolist() == [202, 203, 166]  # 0.4 of grey 128 and 0.6 of magma's end
    assert (heat == OUTLINE).all(axis=-1).sum() == 4 * 2 * 118  # 120 pixels a side, two wide
    assert (np.asarray(draw_heat(make_slice(1), 0, 0, (1.0, 1.0))) != OUTLINE).any(axis=-1).all()


@pytest.mark.parametrize("classes", [1, 2, 8, 15])
def test_any_number_of_classes_fits(classes):
    labels = {f"a structure with quite a long name {index}": index for index in range(classes + 1)}
    block = draw_block(make_slice(classes), labels, view_of(make_slice(classes)))
    rows = -(-(classes + 3) // COLUMNS)
    assert block.width == -(-(classes + 3) // rows) * (SIDE_PX + MARGIN_PX) + MARGIN_PX
    assert block.width >= 4 * CELL_PX
    gap = np.asarray(block)[:, MARGIN_PX + SIDE_PX + 1 : 2 * MARGIN_PX + SIDE_PX - 1]
    assert not gap.any()  # no title runs into its neighbour


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    work = tmp_path_factory.mktemp("guided")
    folder = write_nnunet(work / "Dataset001_Pair", cases=5, shape=(20, 18, 4))
    bundle = plan_tiny(folder, work, networks="pgsam")
    run_bundle("training", bundle)
    return folder, bundle


def test_predict_writes_a_page_per_case_of_the_trained_network(trained, tmp_path, monkeypatch):
    from pgsam_monai.networks.pgsam import PGSAM

    used, built, modes, guide_maps, build = [], [], [], PGSAM.guide_maps, PGSAM.__init__
    monkeypatch.setattr(PGSAM, "__init__", lambda self, **given: built.append(self) or build(self, **given))
    monkeypatch.setattr(
        PGSAM,
        "guide_maps",
        lambda self, image: used.append(self) or modes.append(self.training) or guide_maps(self, image),
    )
    folder, bundle = trained
    source = folder / "imagesTr/case_1_0000.nii.gz"
    (written,) = predict(bundle, source, tmp_path, guide_maps=True)
    page = Image.open(tmp_path / "guide_maps/case_1_0000.png")
    assert page.width >= 5 * CELL_PX and written.is_file()
    assert len(built) == 1 and used == built and modes == [False]
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    assert torch.equal(used[0].aligner.local_scale.cpu(), state["aligner.local_scale"])


def test_guide_maps_are_of_the_texts_that_predicted(trained, tmp_path, monkeypatch):
    from pgsam_monai.networks.pgsam import PGSAM

    folder, bundle = trained
    images = tmp_path / "images"
    images.mkdir()
    for name in ("case_1", "case_2"):
        shutil.copy(folder / f"imagesTr/{name}_0000.nii.gz", images / f"{name}.nii.gz")
    name = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"][1]
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"case_1": {name: "A bright crescent far to the left."}}))
    read, guide_maps, forward = [], PGSAM.guide_maps, PGSAM.forward

    def noted(step):
        return lambda self, image: read.append(self.texts(self.clip).detach()) or step(self, image)

    monkeypatch.setattr(PGSAM, "guide_maps", noted(guide_maps))
    monkeypatch.setattr(PGSAM, "forward", noted(forward))
    predict(bundle, images, tmp_path / "out", guide_maps=True, case_texts=texts)
    predicted, drawn, predicted_plainly, drawn_plainly = read
    assert torch.equal(predicted, drawn) and torch.equal(predicted_plainly, drawn_plainly)
    assert (predicted != predicted_plainly).any(dim=1).tolist() == [False, True, False]


def test_pictures_have_guide_maps_too(tmp_path):
    folder = write_pictures(tmp_path / "skin", cases=5)
    bundle = plan_tiny(folder, tmp_path, networks="pgsam")
    run_bundle("training", bundle)
    source = next(path for path in sorted(folder.rglob("*.png")) if "image" in str(path.parent))
    predict(bundle, source, tmp_path / "out", guide_maps=True)
    assert len(list((tmp_path / "out/guide_maps").glob("*.png"))) == 1


def test_a_network_without_a_prior_is_refused_before_it_predicts(trained, tmp_path):
    folder, bundle = trained
    config = bundle / "configs/inference.json"
    kept = config.read_text()
    changed = json.loads(kept)
    changed["network_def"]["prior_aligner"] = False
    config.write_text(json.dumps(changed))
    with pytest.raises(
        ValueError, match="PG-SAM without its prior aligner; use a bundle planned with --networks"
    ):
        predict(bundle, folder / "imagesTr/case_1_0000.nii.gz", tmp_path, guide_maps=True)
    config.write_text(kept)
    assert not list(tmp_path.iterdir())
