"""Studies, their labels and the next sample, as MONAI Label asks for them."""

from __future__ import annotations

import shutil
import time

import pytest

monailabel = pytest.importorskip("monailabel", reason="MONAI Label has an environment of its own")

from monailabel.datastore.local import LocalDatastore  # noqa: E402

from pgsam_monai.label.tasks.datastore import StudiesFolder  # noqa: E402
from pgsam_monai.label.tasks.sampling import AnyImage  # noqa: E402

ASKED = {"strategy": "random"}


@pytest.fixture
def studies(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"image")
    return StudiesFolder(str(tmp_path), extensions=["*.nii.gz"], auto_reload=False)


def in_a_while(seen):
    deadline = time.monotonic() + 20
    while not seen() and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen()


def test_a_label_is_replaced_whole(studies, tmp_path):
    sent = tmp_path / "sent.nii.gz"
    sent.write_bytes(b"former")
    assert studies.save_label("a", str(sent), "final", {"by": "ann"}) == "a"
    with open(studies.get_label_uri("a", "final"), "rb") as reader:
        sent.write_bytes(b"new")
        studies.save_label("a", str(sent), "final", {"by": "bob"})
        assert reader.read() == b"former"  # to its end, as it was when it was opened
    label = tmp_path / "labels/final/a.nii.gz"
    assert label.read_bytes() == b"new" and list(label.parent.iterdir()) == [label]
    assert studies.get_label_info("a", "final")["by"] == "bob"
    assert list(studies.get_labeled_images()) == ["a"]


def test_what_another_process_records_is_read(studies, tmp_path):
    """A scoring, say: the records appear whole, under their name."""
    watching = StudiesFolder(str(tmp_path), extensions=["*.nii.gz"], auto_reload=True)
    studies.update_image_info("a", {"epistemic_entropy": 0.5})
    assert in_a_while(lambda: watching.get_image_info("a").get("epistemic_entropy") == 0.5)


def test_a_folder_is_watched_on_whatever_becomes_of_it(studies, tmp_path, monkeypatch):
    watching = StudiesFolder(str(tmp_path), extensions=["*.nii.gz"], auto_reload=True)
    with monkeypatch.context() as broken:
        fault = OSError("the disk is away")
        broken.setattr(LocalDatastore, "_reconcile_datastore", lambda self: (_ for _ in ()).throw(fault))
        (tmp_path / "c.nii.gz").write_bytes(b"image")
        time.sleep(0.3)
    shutil.rmtree(tmp_path / "labels")
    (tmp_path / "d.nii.gz").write_bytes(b"image")
    assert in_a_while(lambda: set(watching.list_images()) == {"a", "b", "c", "d"})


@pytest.mark.parametrize("shown", [pytest.param(int(time.time()), id="now"), 2**60, "x", None, [1]])
def test_the_last_sample_is_given_whatever_its_record_says(studies, tmp_path, shown):
    for name in ("a", "b"):
        studies.update_image_info(name, {"strategy": {"random": {"ts": shown}}})
    assert AnyImage()(ASKED, studies)["id"] in ("a", "b")


def test_there_is_no_next_sample_when_all_are_labelled(studies, tmp_path):
    for name in ("a", "b"):
        label = tmp_path / "label.nii.gz"
        label.write_bytes(b"label")
        studies.save_label(name, str(label), "final", {})
    assert AnyImage()(ASKED, studies) is None
