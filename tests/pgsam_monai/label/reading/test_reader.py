import os
import signal
import threading
import time

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.volume import ReadError, read_image, read_label
from pgsam_monai.label.reading import reader as module
from pgsam_monai.label.reading.reader import Reader
from pgsam_monai.transforms import ReadCased
from pgsam_monai.transforms.read import image_reader


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.end()


@pytest.fixture
def image(tmp_path):
    affine = np.array([[0, -2.0, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_it_reads_as_the_project_reads(reader, image):
    here, there = read_image(image), reader.read_image(image)
    assert np.array_equal(here.voxels, there.voxels) and here.voxels.dtype == there.voxels.dtype
    assert np.array_equal(here.affine, there.affine) and here.spacing == there.spacing
    assert there.voxels.flags.writeable and here.voxels.strides == there.voxels.strides
    labels = reader.read_label(image).voxels
    assert np.array_equal(labels, read_label(image).voxels) and labels.dtype == np.int16


def test_an_answer_is_its_receivers_own(reader, image):
    first = reader.read_image(image).voxels
    first[:] = 7
    assert reader.read_image(image).voxels.max() == 23 and first.min() == 7


def test_what_cannot_be_read_is_told_as_ever(reader, image, tmp_path):
    (tmp_path / "b.nii.gz").write_bytes(b"junk")
    with pytest.raises(ReadError) as here:
        read_image(tmp_path / "b.nii.gz")
    with pytest.raises(ReadError) as there:
        reader.read_image(tmp_path / "b.nii.gz")
    assert str(here.value) == str(there.value) and there.value.file == here.value.file
    assert reader.read_image(image).voxels.shape == (1, 2, 3, 4)


def test_a_process_that_a_file_ended_is_replaced(reader, image, monkeypatch):
    reader.read_image(image)
    ended = reader._child.process
    asked = module._ask

    def ask_a_dead_one(child, question):
        os.kill(child.process.pid, signal.SIGABRT)
        return asked(child, question)

    monkeypatch.setattr(module, "_ask", ask_a_dead_one)
    with pytest.raises(ReadError, match="ended the program that read it"):
        reader.read_image(image)
    monkeypatch.undo()
    assert reader.read_image(image).voxels.max() == 23 and reader._child.process.pid != ended.pid
    assert ended.returncode == -signal.SIGABRT


def test_one_that_takes_too_long_is_ended(image, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_S", 5)
    reader = Reader()
    reader.read_image(image)
    child = reader._child
    child.connection.settimeout(0.3)
    os.kill(child.process.pid, signal.SIGSTOP)
    with pytest.raises(ReadError, match="took it too long"):
        reader.read_image(image)
    assert child.process.returncode is not None and reader._child is None


def test_nothing_grows(reader, image):
    reader.read_image(image)
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        reader.read_image(image)
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_requests_at_once_take_turns(reader, image):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(reader.read_image(image).voxels.sum())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [276] * 8


def test_preprocessing_reads_through_it(reader, image):
    seen = []
    token = image_reader.set(lambda files: seen.append(files) or reader.read_image(files))
    try:
        read = ReadCased("image")({"image": str(image)})["image"]
    finally:
        image_reader.reset(token)
    assert len(seen) == 1 and float(read.sum()) == 276


@pytest.mark.parametrize(
    "name, elsewhere", [("a.nii.gz", 0), ("a.mha", 1), ("a.dcm", 1), ("a.h5", 1), ("a", 1)]
)
def test_what_is_written_in_c_reads_elsewhere(monkeypatch, name, elsewhere):
    asked = []
    monkeypatch.setattr(module.reader, "read_image", lambda files: asked.append(files))
    monkeypatch.setattr(module, "read_image", lambda files: None)
    module.read_image_safely(name)
    assert len(asked) == elsewhere


def test_it_costs_little(reader, tmp_path):
    """Beside reading itself: one copy of the voxels, here 8 MB."""
    nib.save(nib.Nifti1Image(np.zeros((128, 128, 128), np.float32), np.eye(4)), tmp_path / "a.nii")
    reader.read_image(tmp_path / "a.nii")

    def best(read):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            read(tmp_path / "a.nii")
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(reader.read_image) < best(read_image) + 0.2  # 0.01 alone on a machine
