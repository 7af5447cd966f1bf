from __future__ import annotations

import logging
from pathlib import Path

import pytest
from dataset_builders import tiny_label, write_volume

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.training.segment_names import Classes, StudyLabel
from pgsam_monai.label.training.studies import Study, labelled_studies, split_studies

CLASSES = Classes(values={"a": 1, "b": 2}, known=frozenset({1, 2}), background=0)


def studies(count: int) -> list[Study]:
    label = StudyLabel(file=Path("label"), classes=frozenset({1}))
    return [Study(name=f"s{number}", image="image", label=label) for number in range(count)]


@pytest.mark.parametrize(
    "count, share, held_out",
    [
        (1, 0.2, 0),
        (2, 0.2, 0),
        (2, 0.25, 1),
        (3, 0.2, 1),
        (5, 0.2, 1),
        (10, 0.2, 2),
        (10, 0, 0),
        (1, 0.9, 0),
        (3, 0.9, 2),
    ],
)
def test_a_share_is_held_out_but_never_all(count, share, held_out):
    training, validation = split_studies(studies(count), share)
    assert len(validation) == held_out and len(training) == count - held_out
    assert {study.name for study in training + validation} == {f"s{n}" for n in range(count)}


def test_who_is_held_out_depends_on_names_not_on_order_and_mostly_stays():
    few, many = studies(10), studies(20)
    held = {study.name for study in split_studies(few, 0.2)[1]}
    assert held == {study.name for study in split_studies(few[::-1], 0.2)[1]}
    assert held & {study.name for study in split_studies(many, 0.2)[1]}


class Records:
    """A datastore with labels in a folder."""

    def __init__(self, folder: Path, **info: dict) -> None:
        self.folder, self.info = folder, info

    def get_labeled_images(self) -> list[str]:
        return [file.name.removesuffix(".nii.gz") for file in self.folder.glob("*.nii.gz")]

    def get_label_by_image_id(self, name: str, tag: str) -> str:
        assert tag == "final"
        return name

    def get_label_uri(self, name: str, tag: str) -> str:
        return str(self.folder / f"{name}.nii.gz")

    def get_label_info(self, name: str, tag: str) -> dict:
        return self.info.get(name, {})

    def get_image_uri(self, name: str) -> str:
        return f"/images/{name}"


def test_studies_come_by_name_with_what_is_left_out_told(tmp_path, caplog):
    for number, name in enumerate(("y", "x", "z")):
        write_volume(tmp_path / f"{name}.nii.gz", tiny_label(number) * (name != "z"))
    info = {"label_info": [{"name": "b", "idx": 1}, {"name": "other", "idx": 2}]}
    with caplog.at_level(logging.WARNING):
        found = labelled_studies(Records(tmp_path, x=info), CLASSES, folder=tmp_path / "copies")
    assert [study.name for study in found] == ["x", "y", "z"]
    assert [sorted(study.label.classes) for study in found] == [[2], [1, 2], []]
    assert found[1].case == {"name": "y", "image": "/images/y", "label": str(tmp_path / "y.nii.gz")}
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and "'other' is left out" in told[0] and "Study 'z': its label holds no" in told[1]


def test_unreadable_labels_are_all_named(tmp_path):
    for name in ("p", "q"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"no volume")
    with pytest.raises(RequestFault, match="study 'p': .*study 'q': ") as fault:
        labelled_studies(Records(tmp_path), CLASSES, folder=tmp_path / "copies")
    assert fault.value.status == 422
