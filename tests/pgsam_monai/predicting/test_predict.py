import json
import shutil
from typing import ClassVar

import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet
from scipy import ndimage
from tiny_bundle import plan_tiny, read_voxels
from torch import nn

from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.pictures import overlays
from pgsam_monai.predicting.predict import predict


def test_no_bundle_and_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no bundle"):
        Bundle.trained(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/inference.json").write_text("{}")
    (tmp_path / "configs/metadata.json").write_text(
        '{"pgsam_monai": {"network": "samed", "title": "SAMed", "trained_for": {}}}'
    )
    with pytest.raises(FileNotFoundError, match="train it first"):
        Bundle.trained(tmp_path)


class Reader(nn.Module):
    """Answers every text with two cubes in opposite corners, and notes the text; without one it is unhappy."""

    heard: ClassVar[list] = []

    def __init__(self, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes))
        self.request = None

    def forward(self, image):
        if self.request is None:
            raise ValueError("nothing was asked")
        self.heard.append(self.request)
        answer = torch.zeros_like(image[:, :1])
        answer[:, :, :5, :5] = answer[:, :, -3:, -3:] = 1
        return torch.cat([0.5 - answer, answer - 0.5], dim=1)


def reads(bundle, texts):
    """Write into its metadata what the network reads."""
    file = bundle / "configs/metadata.json"
    content = json.loads(file.read_text())
    content["pgsam_monai"]["texts"] = texts
    file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def reading_bundle(tmp_path_factory):
    """A trained bundle of three values whose network reads texts and whose plan cleans its classes."""
    work = tmp_path_factory.mktemp("reading")
    folder = write_nnunet(work / "Dataset001_Read", cases=5, shape=(16, 16, 3), values=(0, 5, 205))
    bundle = plan_tiny(folder, work, "fit=stretch")
    config = json.loads((bundle / "configs/inference.json").read_text())
    reader = {"_target_": f"{__name__}.Reader", "num_classes": "@num_classes"}
    largest = {
        "_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1], "is_onehot": False,
        "independent": True,
    }  # fmt: skip
    config["network_def"] = reader
    config["postprocessing"]["transforms"].insert(0, largest)
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    reads(bundle, "requests")
    (bundle / "models").mkdir()
    torch.save(Reader(2).state_dict(), bundle / "models/model.pt")
    Reader.heard.clear()
    return bundle, folder


@pytest.mark.parametrize(
    "text",
    [
        "perform liver segmentation",
        "$import os",
        "$1/0",
        "@device",
        "@device and more",
        "%labels",
        "leber: größer",
    ],
)
def test_a_text_is_asked_as_it_is(reading_bundle, tmp_path, text):
    bundle, folder = reading_bundle
    Reader.heard.clear()
    (written,) = predict(bundle, folder / "imagesTr/case_1_0000.nii.gz", tmp_path, text=text)
    assert set(Reader.heard) == {text}
    voxels, _ = read_voxels(written)
    assert written.name == "case_1_0000.nii.gz" and voxels.dtype == np.uint8
    assert set(np.unique(voxels)) == {0, 1}
    assert ndimage.label(voxels)[1] == 2  # the plan's largest piece is for its own classes


def test_overlays_name_the_text(reading_bundle, tmp_path, monkeypatch):
    bundle, folder = reading_bundle
    legends, real = [], overlays.write_overlays

    def spy(*arguments, labels, **options):
        legends.append(dict(labels))
        return real(*arguments, labels=labels, **options)

    monkeypatch.setattr(overlays, "write_overlays", spy)
    predict(bundle, folder / "imagesTr/case_1_0000.nii.gz", tmp_path, text="liver", overlays=True)
    assert legends == [{"liver": 1}]
    assert (tmp_path / "overlays/case_1_0000.png").stat().st_size > 0


@pytest.mark.parametrize(
    "options, said",
    [
        ({"text": " \n"}, '--text is empty; say what to segment, as in --text "perform liver'),
        ({"text": ""}, "--text is empty"),
        ({"text": "liver", "guide_maps": True}, "not what --text asks for; give one"),
    ],
)
def test_texts_that_cannot_be_asked(reading_bundle, tmp_path, options, said):
    bundle, folder = reading_bundle
    with pytest.raises(ValueError, match=said):
        predict(bundle, folder / "imagesTr", tmp_path, **options)


def test_a_bundle_that_reads_no_text(reading_bundle, tmp_path):
    bundle, folder = reading_bundle
    other = shutil.copytree(bundle, tmp_path / "bundle")
    reads(other, None)
    with pytest.raises(
        ValueError, match="takes no text: --text is for networks that read any text .refsam3d."
    ):
        predict(other, folder / "imagesTr", tmp_path / "out", text="liver")


def test_the_command_line_takes_one_way_of_asking(reading_bundle, tmp_path, capsys):
    bundle, folder = map(str, reading_bundle)
    scan = f"{folder}/imagesTr/case_1_0000.nii.gz"
    for words in ({"clicks": "clicks.json"}, {"box": (0, 1, 0, 1, 0, 1)}):
        with pytest.raises(ValueError, match="--text asks in words, --clicks and --box by pointing"):
            cli.predict(bundle, scan, str(tmp_path), text="liver", **words)
    with pytest.raises(SystemExit, match="--text needs a value"):
        cli.main(["predict", bundle, scan, str(tmp_path), "--text"])
    Reader.heard.clear()
    cli.main(["predict", bundle, scan, str(tmp_path), "--text", "liver,spleen"])
    assert set(Reader.heard) == {"liver,spleen"}
    assert capsys.readouterr().out.strip() == str(tmp_path / "case_1_0000.nii.gz")


def test_a_file_that_is_called_like_an_expression(reading_bundle, tmp_path, monkeypatch):
    bundle, folder = reading_bundle
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "imagesTr/case_1_0000.nii.gz", "$exit(3).nii.gz")
    (written,) = predict(bundle, "$exit(3).nii.gz", "out", text="liver")
    assert written.name == "$exit(3).nii.gz"


def mirroring(bundle, **values):
    """Write into a bundle's plan which axes training mirrored, and what its classes are called."""
    file = bundle / "configs/plan.json"
    plan = json.loads(file.read_text())
    for name, value in values.items():
        plan["decisions"][name]["value"] = value
    file.write_text(json.dumps(plan))


def test_mirror_images_are_asked_along_the_axes_that_were_typed(reading_bundle, tmp_path):
    bundle, folder = reading_bundle
    bundle = shutil.copytree(bundle, tmp_path / "bundle")
    scan, asked = folder / "imagesTr/case_1_0000.nii.gz", {"text": "liver"}
    for name, mirror, passes in [
        ("plain", None, 1),
        ("none", [], 1),
        ("two", ["front-back", "left-right"], 4),
    ]:
        Reader.heard.clear()
        (written,) = predict(bundle, scan, tmp_path / name, mirror=mirror, summary=True, **asked)
        assert len(Reader.heard) == passes
        (run,) = json.loads((tmp_path / name / "summary.json").read_text())["runs"]
        assert run["settings"].get("mirror") == (mirror or None)
    mirroring(bundle, mirror=["front-back"])
    Reader.heard.clear()
    cli.main(
        ["predict", str(bundle), str(scan), str(tmp_path / "auto"), "--text", "liver", "--mirror", "auto"]
    )
    assert len(Reader.heard) == 2
    voxels, affine = read_voxels(written)
    assert np.array_equal(affine, read_voxels(scan)[1]) and voxels.shape == read_voxels(scan)[0].shape


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mirror", "sideways"], "'sideways' is no axis; there are left-right, front-back, up-down"),
        (["--mirror", "left-right", "--text", "left kidney"], "--text asks for one side"),
        (["--mirror", "auto", "--box", "0,1,0,1,0,1"], "--mirror is not for --clicks and --box"),
        (["--mirror", "True"], "'True' is no axis"),
        (["--mirror"], "--mirror needs a value"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(reading_bundle, tmp_path, words, said):
    bundle, folder = reading_bundle
    with pytest.raises(SystemExit, match=said):
        cli.main(["predict", str(bundle), str(folder / "imagesTr"), str(tmp_path), *words])


def test_a_bundle_of_before_mirroring_is_written_again(reading_bundle, tmp_path):
    bundle = shutil.copytree(reading_bundle[0], tmp_path / "bundle")
    config = json.loads((bundle / "configs/inference.json").read_text())
    del config["mirror"], config["mirrored_inferer"]
    config["evaluator"]["inferer"] = "@inferer"
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    scan = reading_bundle[1] / "imagesTr/case_1_0000.nii.gz"
    assert predict(bundle, scan, tmp_path / "plain", text="liver")
    with pytest.raises(ValueError, match="knew no mirroring; write it again with pgsam-plan --from_plan"):
        predict(bundle, scan, tmp_path / "mirrored", text="liver", mirror=["up-down"])
