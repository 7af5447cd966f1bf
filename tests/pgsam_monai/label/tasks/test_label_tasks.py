"""Our tasks inside MONAI Label's own app; needs its environment."""

from __future__ import annotations

import gc
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dataset_builders import tiny_image, tiny_label, write_msd, write_series
from tiny_bundle import read_voxels
from untrained import draw_weights, plan_untrained

pytest.importorskip("monailabel")

from monailabel.interfaces.utils.app import app_instance, clear_cache

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import ReadError
from pgsam_monai.bundle import Bundle, WeightsFault
from pgsam_monai.export.comparing import cases_to_compare
from pgsam_monai.export.engines import export_engine
from pgsam_monai.label.faults import RequestFault, status_and_sentence
from pgsam_monai.label.tasks import infer_tasks
from pgsam_monai.predicting.predict import predict
from pgsam_monai.voxels.result import LabelResult

MODELS = ("samed", "pgsam", "medsa", "refsam3d")
SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "user"}
CLICK = [3, 4, 4]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Names -> folders; the data set's values have gaps."""
    work = tmp_path_factory.mktemp("label_tasks")
    data = write_msd(work / "Task02_Heart", cases=4, values=(0, 3, 205))
    return {name: plan_untrained(data, work, name) for name in MODELS} | {"data": data}


@pytest.fixture(scope="module")
def folders(bundles, tmp_path_factory):
    """The app's folder as `pgsam label` makes it, and the studies."""
    app, studies = tmp_path_factory.mktemp("app"), tmp_path_factory.mktemp("studies")
    (app / "main.py").write_text("from pgsam_monai.label.app import PgsamApp  # noqa: F401\n")
    (app / "model").mkdir()
    for name in MODELS:
        (app / "model" / name).symlink_to(bundles[name])
    for image in sorted((bundles["data"] / "imagesTr").glob("*.nii.gz")):
        shutil.copy(image, studies)
    return app, studies


@pytest.fixture(scope="module")
def app(folders):
    """MONAI Label finds our class in main.py, as its server does."""
    clear_cache()
    conf = {"models": ",".join(MODELS), "zoo_source": "local", "sam2": "false"}
    yield app_instance(str(folders[0]), str(folders[1]), conf)
    clear_cache()


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where results lie; each test has its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def ask(app, model, image="organ_001", **params):
    """File and JSON of the answer."""
    answer = app.infer({"model": model, "image": image, **params})
    json.dumps(answer["params"])
    return Path(answer["file"]), answer["params"]


def voxels_of(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T


def test_clients_learn_what_can_be_asked(app):
    info = app.info()
    models = info["models"]
    assert set(models) == {f"{name}{kind}" for name in MODELS for kind in ("", "_deepedit", "_deepgrow")}
    assert models["samed"]["type"] == "segmentation" and models["samed"]["dimension"] == 3
    assert models["samed"]["labels"] == {"organ3": 1, "organ205": 2}
    assert models["medsa_deepedit"]["labels"] == {"background": 0, "organ3": 1, "organ205": 2}
    assert models["medsa_deepgrow"]["labels"] == {"organ3": 1, "organ205": 2}
    assert models["refsam3d"]["config"]["text"] == ""
    assert models["pgsam"]["config"]["text:organ3"].startswith("The organ3")
    assert models["medsa_deepedit"]["config"]["background_shows"] == ["everything", "empty"]
    assert set(info["strategies"]) >= {"first", "random", "epistemic"}
    assert set(info["trainers"]) == set(info["scoring"]) == set(MODELS)
    json.dumps(info)


def test_no_setting_is_empty_or_anything_that_3d_slicer_cannot_show(app):
    for model in app.info()["models"].values():
        for value in model["config"].values():
            assert isinstance(value, str | bool | int) or (value and all(isinstance(v, str) for v in value))


def test_an_exported_network_answers(app, bundles, monkeypatch):
    """Once it was exported, with no restart, and images are still read in another process."""
    models, read = bundles["samed"] / "models", []
    whole = Bundle.trained(bundles["samed"], device="cpu")
    export_engine(whole, "onnxruntime", cases_to_compare(whole, 1)[1])
    monkeypatch.setattr("pgsam_monai.runtime.choosing.has_gpu", lambda: False)
    safely = infer_tasks.read_image_safely
    monkeypatch.setattr(infer_tasks, "read_image_safely", lambda image: read.append(image) or safely(image))
    monkeypatch.setattr(Bundle, "label_map", lambda *_, **__: pytest.fail("torch answered"))
    file, said = ask(app, "samed", "organ_002", label_values="original")
    monkeypatch.undo()
    (models / "exported.json").unlink()
    assert len(read) == 1
    exact = Bundle.trained(bundles["samed"], device="cpu", overrides={"precision": "fp32"})
    assert np.mean(voxels_of(file) == exact.label_map(read[0]).voxels) > 0.999


@pytest.mark.parametrize("model", MODELS)
def test_the_result_is_that_of_pgsam_predict(app, bundles, folders, model, tmp_path):
    (expected,) = predict(bundles[model], folders[1] / "organ_002.nii.gz", tmp_path, device="cpu")
    file, said = ask(app, model, "organ_002", label_values="original")
    assert file.read_bytes() == expected.read_bytes()
    assert said["label_names"] == {"organ3": 3, "organ205": 205} and said["device"] == "cpu"
    assert said["latencies"]["total"] >= said["latencies"]["infer"] > 0


def test_3d_slicer_gets_consecutive_values_in_its_own_kind_of_file(app, bundles, folders, tmp_path):
    (expected,) = predict(bundles["samed"], folders[1] / "organ_001.nii.gz", tmp_path, device="cpu")
    values, affine = read_voxels(expected)
    shown = app.info()["models"]["samed"]["config"]
    flat = {key: value[0] if isinstance(value, list) else value for key, value in shown.items()}
    file, said = ask(app, "samed", **SLICER, **flat)
    image = sitk.ReadImage(str(file))
    assert file.suffix == ".nrrd" and image.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(voxels_of(file), np.searchsorted([0, 3, 205], values))
    assert np.allclose(np.array(image.GetOrigin()) * [-1, -1, 1], affine[:3, 3], atol=1e-4)
    assert said["label_names"] == {"organ3": 1, "organ205": 2}


def test_each_request_leaves_one_file_and_a_refused_one_none(app, temporary):
    file, _ = ask(app, "samed")
    assert list(temporary.iterdir()) == [file]
    file.unlink()
    for params in (
        {"result_dtype": "text"},
        {"result_extension": ".exe"},
        {"label_values": "x"},
        {"device": "tpu"},
    ):
        with pytest.raises(RequestFault):
            ask(app, "samed", **params)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("device", ["cpu", "cuda", ["cpu"], "", None, "cuda:0"])
def test_devices_as_clients_name_them(app, device):
    import torch

    if torch.cuda.is_available():
        pytest.skip("counts on a machine without a GPU")
    assert ask(app, "samed", device=device)[1]["device"] == "cpu"


def test_a_text_brings_another_structure_and_is_forgotten(app):
    classes = voxels_of(ask(app, "refsam3d")[0])
    answers = {}
    for text in ("organ3", "the liver"):
        file, said = ask(app, "refsam3d", text=text)
        answers[text] = voxels_of(file)
        assert said["label_names"] == {text: 1}
    assert not np.array_equal(*answers.values())
    assert np.array_equal(voxels_of(ask(app, "refsam3d", text="")[0]), classes)


def test_exchanged_class_texts_change_the_result_and_are_forgotten(app):
    shown = app.info()["models"]["pgsam"]["config"]
    before = voxels_of(ask(app, "pgsam", **shown)[0])
    exchanged = {"text:organ3": shown["text:organ205"], "text:organ205": shown["text:organ3"]}
    fields = voxels_of(ask(app, "pgsam", **{**shown, **exchanged})[0])
    program = {"organ3": shown["text:organ205"], "organ205": [shown["text:organ3"]]}
    assert not np.array_equal(before, fields)
    assert np.array_equal(voxels_of(ask(app, "pgsam", texts=program)[0]), fields)
    assert np.array_equal(voxels_of(ask(app, "pgsam", **shown)[0]), before)


@pytest.mark.parametrize(
    ("model", "params", "status"),
    [
        ("samed", {"text": "liver"}, 422),
        ("medsa_deepedit", {"text": "liver"}, 422),
        ("refsam3d", {"text": "x" * 2000}, 413),
        ("refsam3d", {"text": 7}, 422),
        ("pgsam", {"texts": {"liver": "x"}}, 422),
        ("medsa_deepedit", {"organ3": [[3, 4, 400]]}, 422),
        ("medsa_deepgrow", {"foreground": [CLICK]}, 422),
    ],
)
def test_what_a_model_cannot_do_is_said(app, temporary, model, params, status):
    with pytest.raises(UserFault) as caught:
        ask(app, model, **params)
    assert status_and_sentence(caught.value)[0] == status and not list(temporary.iterdir())


def test_deepedit_without_clicks_is_the_automatic_result(app):
    automatic = voxels_of(ask(app, "medsa")[0])
    file, said = ask(app, "medsa_deepedit", organ3=[], organ205=[], background=[], roi=[], **SLICER)
    assert np.array_equal(voxels_of(file), automatic) and said["clicks_used"] == {}


def test_deepedit_takes_clicks_by_label_and_says_where_they_landed(app):
    file, said = ask(app, "medsa_deepedit", organ3=[CLICK], organ205=[], background=[[9, 8, 4]], **SLICER)
    assert said["clicks_used"] == {"organ3": {"positive": [CLICK], "negative": [[9, 8, 4]]}}
    assert said["label_names"] == {"organ3": 1, "organ205": 2} and set(np.unique(voxels_of(file))) <= {
        0,
        1,
        2,
    }


def test_deepgrow_gives_its_label_as_1(app):
    file, said = ask(app, "medsa_deepgrow", label="organ205", foreground=[CLICK], background=[], **SLICER)
    assert said["label_names"] == {"organ205": 1} and set(np.unique(voxels_of(file))) <= {0, 1}
    same, _ = ask(app, "medsa_deepgrow", label=2, foreground=[CLICK], **SLICER)
    assert np.array_equal(voxels_of(same), voxels_of(file))
    own, said = ask(app, "medsa_deepgrow", label=205, foreground=[CLICK], label_values="original")
    assert said["label_names"] == {"organ205": 205}
    assert np.array_equal(voxels_of(own) == 205, voxels_of(file) == 1)


def test_a_box_as_3d_slicer_sends_it(app):
    roi = [9, 2, 1, 8, 3, 3]
    file, said = ask(app, "medsa_deepgrow", label="organ3", foreground=[], background=[], roi=roi, **SLICER)
    assert said["clicks_used"] == {} and not voxels_of(file)[..., [0, 1, 2, 4, 5, 6, 7]].any()


def test_clicks_do_not_disturb_what_other_tasks_of_the_bundle_answer(app):
    before = voxels_of(ask(app, "medsa")[0])
    for model, params in (
        ("medsa_deepgrow", {"label": "organ3", "foreground": [CLICK], "propagate": True}),
        ("medsa_deepedit", {"organ205": [CLICK], "background_shows": "empty"}),
    ):
        ask(app, model, **params)
    assert np.array_equal(voxels_of(ask(app, "medsa")[0]), before)


def test_dicom_series_are_answered_on_their_grid(app, tmp_path):
    series = write_series(tmp_path / "series", tiny_image(1, tiny_label(1)))
    for model in ("samed", "medsa_deepedit"):
        file, _ = ask(app, model, str(series), organ3=[CLICK] if "edit" in model else [])
        assert file.name.endswith(".nii.gz") and nib.load(file).shape == (12, 10, 8)
    file, _ = ask(app, "samed", str(series), **SLICER)
    assert file.suffix == ".nrrd"


def test_broken_and_missing_images_are_said(app, tmp_path, temporary):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"nothing")
    for model, params in (("samed", {}), ("medsa_deepedit", {"organ3": [CLICK]})):
        with pytest.raises(ReadError, match=r"broken\.nii\.gz"):
            ask(app, model, str(broken), **params)
    with pytest.raises(RequestFault):
        ask(app, "samed", "nonesuch")
    assert not list(temporary.iterdir())


def test_batches_and_saved_labels(app, folders, temporary):
    answers = app.batch_infer({"model": "samed", "images": "all", "multi_gpu": False, "max_workers": 1})
    assert len(answers) == 4 and not list(temporary.iterdir())
    saved = app.datastore().get_label_uri("organ_001", "original")
    info = app.datastore().get_label_info("organ_001", "original")
    assert np.array_equal(voxels_of(saved), voxels_of(ask(app, "samed")[0]))
    assert info["params"]["label_names"] == {"organ3": 1, "organ205": 2}
    app.datastore().remove_label("organ_001", "original")


def test_only_the_named_bundles_are_scored_by_themselves(app, monkeypatch):
    """After a training, in its own process."""
    started = []
    monkeypatch.setattr(app, "scoring", lambda request: started.append(request["method"]) or {})
    assert app.async_scoring(None) == {} and app.async_scoring("medsa") == {}
    monkeypatch.setitem(app.conf, "score", "pgsam, samed")
    assert set(app.async_scoring(None)) == {"pgsam", "samed"}
    assert started == ["medsa", "pgsam", "samed"]


def test_the_start_names_every_bundle_whose_weights_do_not_fit(app, bundles, folders, monkeypatch):
    kept = {name: (bundles[name] / "models/model.pt").read_bytes() for name in ("samed", "pgsam")}
    for name in kept:
        (bundles[name] / "models/model.pt").write_bytes(b"no weights")
    try:
        with pytest.raises(
            WeightsFault, match=r"Bundle 'samed': .*doesn't fit.* Bundle 'pgsam': .*doesn't fit"
        ):
            app.on_init_complete()
        with pytest.raises(WeightsFault, match="Bundle 'samed'"):
            ask(app, "samed")
    finally:
        for name, content in kept.items():
            (bundles[name] / "models/model.pt").write_bytes(content)
    assert ask(app, "samed")[0].exists()


def test_weights_that_were_trained_meanwhile_are_served(app, bundles):
    before = [voxels_of(ask(app, model, organ3=[CLICK])[0]) for model in ("medsa", "medsa_deepedit")]
    file = bundles["medsa"] / "models/model.pt"
    kept = file.read_bytes()
    draw_weights(bundles["medsa"], seed=7)
    after = [voxels_of(ask(app, model, organ3=[CLICK])[0]) for model in ("medsa", "medsa_deepedit")]
    file.write_bytes(kept)
    os.utime(file)
    again = [voxels_of(ask(app, model, organ3=[CLICK])[0]) for model in ("medsa", "medsa_deepedit")]
    assert all(not np.array_equal(x, y) for x, y in zip(before, after, strict=True))
    assert all(np.array_equal(x, y) for x, y in zip(before, again, strict=True))


def test_many_requests_leave_nothing_behind(app, temporary):
    requests = [
        ("samed", {}),
        ("pgsam", {"text:organ3": "A ball."}),
        ("refsam3d", {"text": "organ3"}),
        ("medsa_deepedit", {"organ3": [CLICK]}),
        ("medsa_deepgrow", {"label": "organ3", "foreground": [CLICK], "propagate": 1}),
    ]

    def ask_all(rounds):
        for number in range(rounds):
            model, params = requests[number % len(requests)]
            ask(app, model, f"organ_00{number % 4 + 1}", **params)[0].unlink()
        gc.collect()
        return len(gc.get_objects()), sum(isinstance(one, LabelResult) for one in gc.get_objects())

    before, _ = ask_all(20)
    after, results = ask_all(40)
    assert after - before < 300 and results == 0 and not list(temporary.iterdir())
