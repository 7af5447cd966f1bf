"""`pgsam view` and `pgsam predict --html`."""

import json
import webbrowser

import numpy as np
import pytest
import torch
from dataset_builders import tiny_image, tiny_label, write_nnunet, write_volume
from page_reader import read_page
from picture_builders import write_refuge
from tiny_bundle import plan_tiny
from torch import nn

from pgsam_monai.base.files import visible
from pgsam_monai.commands import main as cli
from pgsam_monai.commands.predict import predict
from pgsam_monai.commands.view import view
from pgsam_monai.predicting.inputs import prediction_file


@pytest.fixture
def files(tmp_path):
    image = write_volume(tmp_path / "scan.nii.gz", tiny_image(1, tiny_label(1)))
    return str(write_volume(tmp_path / "answer.nii.gz", tiny_label(1))), str(image)


def names_in(page):
    return {shown["name"]: shown["value"] for shown in read_page(page)[0]["classes"]}


def test_the_page_lies_beside_the_prediction(files, tmp_path, capsys):
    label, image = files
    view(label, image=image)
    assert capsys.readouterr().out.strip() == str(tmp_path / "answer.html")
    assert names_in(tmp_path / "answer.html") == {"label 1": 1, "label 2": 2}


def test_names_window_reference_and_output(files, tmp_path):
    label, image = files
    page = tmp_path / "new" / "seen.html"
    view(label, image=image, output=str(page), reference=label, labels="left lobe=2,a=b=1", window=(100, 300))
    assert names_in(page) == {"left lobe": 2, "a=b": 1}
    found, _ = read_page(page)
    assert found["windows"][0] == {"name": "Given", "low": 100, "high": 300}
    assert [shown["dice"] for shown in found["classes"]] == [1, 1]


@pytest.mark.parametrize("found", [True, False])
def test_the_browser_opens_it(files, found, monkeypatch, tmp_path, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or found)
    view(files[0], image=files[1], open=True)
    assert opened == [(tmp_path / "answer.html").as_uri()]
    assert ("open the file in one yourself" in capsys.readouterr().out) is not found


@pytest.mark.parametrize(
    "options, said",
    [
        ({"image": None}, "no image to show the prediction on; give it with --image FILE"),
        ({"output": "page.nii.gz"}, "--output names the page, as in case.html; got 'page.nii.gz'"),
        ({"labels": "liver"}, "--labels takes name=value"),
        ({"labels": "liver=x"}, "--labels takes name=value"),
        ({"labels": ""}, "--labels takes name=value"),
        ({"labels": "a=1,a=2"}, "gives the name 'a' or the value 2 twice"),
        ({"labels": "a=1,b=1"}, "gives the name 'b' or the value 1 twice"),
        ({"labels": "a=1", "bundle": "b"}, "give one of them"),
        ({"window": 5}, "--window takes 2 numbers"),
        ({"bundle": "nowhere"}, "'nowhere' is no bundle"),
    ],
)
def test_faults_are_sentences(files, options, said, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=said.replace(".", r"\.")):
        view(files[0], **{"image": files[1], **options})
    assert not list(tmp_path.glob("*.html"))


def test_it_is_a_command(files, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pgsam", "view", files[0], "--image", files[1], "--labels", "x=1,y=2"])
    cli.main()
    assert "answer.html" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["pgsam", "view", files[0]])
    with pytest.raises(SystemExit, match="pgsam: view: no image"):
        cli.main()


class Corners(nn.Module):
    """Says class 1 in a slice's first corner, class 2 in the next, background elsewhere."""

    def __init__(self, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes))

    def forward(self, image):
        logits = torch.zeros_like(image[:, :1]).repeat(1, 3, 1, 1)
        logits[:, 0] = 0.5
        logits[:, 1, :9, :9] = logits[:, 2, :9, -9:] = 1
        return logits


def with_corners(bundle):
    config = json.loads((bundle / "configs/inference.json").read_text())
    config["network_def"] = {"_target_": f"{__name__}.Corners", "num_classes": "@num_classes"}
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    (bundle / "models").mkdir()
    torch.save(Corners(2).state_dict(), bundle / "models/model.pt")
    return bundle


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    work = tmp_path_factory.mktemp("html")
    folder = write_nnunet(work / "Dataset001_Read", cases=5, shape=(16, 16, 3), values=(0, 5, 205))
    return with_corners(plan_tiny(folder, work, "fit=stretch")), folder


def test_predict_writes_a_page_beside_each_prediction(volumes, tmp_path, capsys):
    bundle, folder = volumes
    predict(str(bundle), str(folder / "imagesTr"), str(tmp_path), html=True, summary=True, device="cpu")
    written = [path.name for path in visible(tmp_path)]
    results = sorted(f"case_{n}_0000.{kind}" for n in range(1, 6) for kind in ("html", "nii.gz"))
    assert written == [*results, "summary.csv", "summary.json"]
    assert "html" not in capsys.readouterr().out
    names = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"]
    assert names_in(tmp_path / "case_2_0000.html") == {names[1]: 5, names[2]: 205}
    _, arrays = read_page(tmp_path / "case_2_0000.html")
    assert set(np.unique(arrays["prediction"])) == {0, 5, 205}


def test_a_page_is_no_prediction(volumes, tmp_path):
    bundle, folder = volumes
    scan = str(folder / "imagesTr/case_1_0000.nii.gz")
    for _ in range(2):  # the second time the page is there already
        predict(str(bundle), scan, str(tmp_path), html=True, device="cpu")
    assert prediction_file(tmp_path, "case_1_0000").name == "case_1_0000.nii.gz"


def test_view_takes_a_bundles_names(volumes, tmp_path):
    bundle, folder = volumes
    image, label = folder / "imagesTr/case_1_0000.nii.gz", folder / "labelsTr/case_1.nii.gz"
    view(str(label), image=str(image), bundle=str(bundle), output=str(tmp_path / "page.html"))
    assert set(names_in(tmp_path / "page.html").values()) == {5, 205}


def test_the_cup_is_a_class_though_its_value_is_0(tmp_path):
    folder = write_refuge(tmp_path / "REFUGE", cases=5, test=1)
    bundle = with_corners(plan_tiny(folder, tmp_path))
    predict(str(bundle), str(folder / "Test400/T0001.jpg"), str(tmp_path / "out"), html=True, device="cpu")
    found, _ = read_page(tmp_path / "out/T0001.html")
    assert [(shown["name"], shown["value"]) for shown in found["classes"]] == [
        ("optic cup", 0),
        ("optic disc rim", 128),
    ]
    assert found["colour"] and all(shown["voxels"] for shown in found["classes"])
    view(
        str(tmp_path / "out/T0001.png"),
        image=str(folder / "Test400/T0001.jpg"),
        labels="optic cup=0,optic disc rim=128",
        output=str(tmp_path / "page.html"),
    )
    assert read_page(tmp_path / "page.html")[0]["classes"] == found["classes"]


def test_prompted_answers_have_pages_too(tmp_path):
    from pgsam_monai.base.trained_for import planned_in
    from pgsam_monai.bundle import Bundle

    folder = write_nnunet(tmp_path / "Dataset001_Read", cases=5, shape=(16, 16, 3), values=(0, 5, 205))
    bundle = plan_tiny(folder, tmp_path, networks="medsa")
    (bundle / "models").mkdir()
    network = Bundle(bundle, device="cpu").parser.get_parsed_content("network_def")
    network.trained_for = planned_in(bundle)
    torch.save(network.state_dict(), bundle / "models/model.pt")
    scan, out = folder / "imagesTr/case_1_0000.nii.gz", tmp_path / "out"
    predict(str(bundle), str(scan), str(out), box=(2, 9, 2, 9, 1, 1), label=5, html=True, device="cpu")
    assert set(names_in(out / "case_1_0000.html").values()) == {5, 205}
