"""Images are predicted with texts of their own, where a file has some."""

import json
import shutil

import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny, read_voxels
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands import main as cli
from pgsam_monai.predicting.predict import predict


class Texts(nn.Module):
    """Of each class its longest text's length, as an embedding (K+1, 1)."""

    def __init__(self, texts):
        super().__init__()
        self.lengths = [float(max(map(len, alternatives))) for alternatives in texts]

    def forward(self, clip):
        return torch.tensor(self.lengths)[:, None]


class Reader(nn.Module):
    """Answers everywhere with the class that has the longest text."""

    def __init__(self, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes))
        self.clip, self.texts = None, self.read_texts([["background"]] + [["text"]] * num_classes)

    def read_texts(self, texts):
        return Texts(texts)

    def forward(self, image):
        lengths = self.texts(self.clip)
        return lengths[None, :, :, None].expand(len(image), -1, *image.shape[2:]).contiguous()


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A trained bundle with the classes 5 and 205, whose network reads a text of each; its images; its class names."""
    work = tmp_path_factory.mktemp("own_texts")
    folder = write_nnunet(work / "Dataset001_Read", cases=5, shape=(16, 16, 3), values=(0, 5, 205))
    bundle = plan_tiny(folder, work, "fit=stretch")
    config = json.loads((bundle / "configs/inference.json").read_text())
    config["network_def"] = {"_target_": f"{__name__}.Reader", "num_classes": "@num_classes"}
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    reads(bundle, "classes")
    (bundle / "models").mkdir()
    torch.save(Reader(2).state_dict(), bundle / "models/model.pt")
    names = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"]
    images = work / "images"
    images.mkdir()
    for number in (1, 2, 3):
        shutil.copy(folder / f"imagesTr/case_{number}_0000.nii.gz", images / f"case_{number}.nii.gz")
    return bundle, images, names


def reads(bundle, texts):
    """Write into its metadata what the network reads."""
    file = bundle / "configs/metadata.json"
    content = json.loads(file.read_text())
    content["pgsam_monai"]["texts"] = texts
    file.write_text(json.dumps(content))


def write(file, content):
    file.write_text(json.dumps(content))
    return file


LONG = "A text that is longer than any other of the network's own texts."


def test_each_case_has_its_own_and_others_the_bundles(reading, tmp_path, capsys):
    bundle, images, names = reading
    file = write(
        tmp_path / "texts.json",
        {"case_1": {names[1]: LONG}, "case_2": {names[2]: ["Short.", LONG]}, "case_3/0": {names[1]: LONG}},
    )
    cli.main(
        ["predict", str(bundle), str(images), str(tmp_path / "out"), "--case_texts", str(file), "--summary"]
    )
    found = {
        number: np.unique(read_voxels(tmp_path / f"out/case_{number}.nii.gz")[0]).tolist()
        for number in (1, 2, 3)
    }
    assert found == {1: [5], 2: [205], 3: [0]}  # what stands of a slice isn't read
    assert "note: 2 of 3 cases have texts in" in capsys.readouterr().err
    (run,) = json.loads((tmp_path / "out/summary.json").read_text())["runs"]
    assert run["settings"]["case_texts"] == str(file)


@pytest.mark.parametrize("content", [{"case_1": {"organ": "A text."}}, {"case_9": {"organ": "A text."}}])
def test_classes_of_another_bundle_are_refused(reading, tmp_path, content):
    bundle, images, names = reading
    file = write(tmp_path / "texts.json", content)
    said = rf"texts.json', 'case_\d': the bundle has no class 'organ'. Did you mean '{names[1]}'"
    with pytest.raises(UserFault, match=said):
        predict(bundle, images, tmp_path / "out", case_texts=file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("texts", [None, "requests"])
def test_networks_that_read_no_texts_of_classes_are_refused(reading, tmp_path, texts):
    bundle, images, names = reading
    other = shutil.copytree(bundle, tmp_path / "bundle")
    reads(other, texts)
    file = write(tmp_path / "texts.json", {"case_1": {names[1]: LONG}})
    with pytest.raises(
        UserFault, match="reads no texts of its classes: --case_texts is for networks that do .pgsam."
    ):
        predict(other, images, tmp_path / "out", case_texts=file)


def test_texts_and_pointing_do_not_go_together(reading, tmp_path):
    bundle, images, _ = map(str, reading)
    with pytest.raises(UserFault, match="--case_texts is not for --clicks and --box"):
        cli.predict(bundle, images, str(tmp_path), box="0,1,0,1,0,1", case_texts="texts.json")
