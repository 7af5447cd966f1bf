"""Clients of benchmarks/doors, of which the one for `pgsam click` speaks to a server here; and two codes in turns."""

from __future__ import annotations

import threading

import nibabel as nib
import numpy as np
import pytest
from answering_network import draw_blocks, make_model

from benchmarks.clicks_beside_code import Clicked, click
from benchmarks.clicks_in_volume import Recorded
from pgsam_monai.base.volume import read_label
from pgsam_monai.evaluation.interaction.users import Correction
from pgsam_monai.evaluation.interaction.whole_volume import BrushAnswers, SegmenterAnswers
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.nninteractive.answering import Answering, affine_of
from pgsam_monai.nninteractive.serving import make_click_server

AFFINE = affine_of("PIR", (1.5, 1.0, 4.0))
GIVEN = [
    Correction((10, 8, 3), True, 4.0),
    Correction((6, 6, 3), False, 2.0),
    Correction((28, 20, 4), True, 5.0),
]


@pytest.fixture
def scan(tmp_path):
    nib.save(nib.Nifti1Image(draw_blocks()[0], AFFINE), tmp_path / "scan.nii.gz")
    return str(tmp_path / "scan.nii.gz")


def test_the_extensions_client_answers_as_python_does(scan):
    from doors.click_door import ClickAnswers, orientation_of  # late: the benchmarks make their folder known

    model = make_model(names=["object"], values=[0, 1])
    answering = Answering(model=model, corrector=model, label="object", affine=affine_of("PIR", (1, 1, 1)))
    segmenter = Segmenter(model)
    segmenter.set_image(scan)
    assert orientation_of(scan) == "PIR"
    with make_click_server(answering, port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        answers = Recorded(ClickAnswers(f"http://127.0.0.1:{server.server_port}", scan))
        for _ in range(2):
            answers.start_over()
            assert not answers.mask().any()
            for one in GIVEN:
                answers.click(one)
            assert answers.differing(SegmenterAnswers(segmenter, "object")) == 0
            assert answers.mask()[28, 20, 4] and not answers.mask()[6, 6, 3]
        server.shutdown()


def test_voxels_that_differ_are_counted_after_every_click():
    """Of two voxels one is shown otherwise before the first click, and stays so."""
    shown, other = np.zeros((2, 1, 1), bool), np.array([[[True]], [[False]]])
    answers = Recorded(BrushAnswers(shown, (1, 1, 1)))
    answers.start_over()
    for _ in range(3):
        answers.click(Correction((1, 0, 0), True, 0.5))
    assert answers.differing(BrushAnswers(other, (1, 1, 1))) == 3


class FakeCode:
    """Paints the whole target at once, or one voxel more with each click; needs as many seconds as it got clicks."""

    def __init__(self, log, name, painted):
        self._log, self._name, self._painted, self._count = log, name, painted, 0

    def ask(self, **said):
        self._count += 1
        self._log.append((self._name, tuple(said["click"]), said["positive"]))
        mask = np.zeros((4, 1, 1), bool)
        mask[: self._painted(self._count)] = True
        np.save(said["mask"], mask)
        return {"seconds": float(self._count)}


def test_codes_take_turns_with_the_same_clicks(tmp_path):
    """Of four voxels the first code finds two, then three; the other finds all, which nobody looks at."""
    nib.save(nib.Nifti1Image(np.ones((4, 1, 1), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    log = []
    codes = [FakeCode(log, "own", lambda count: count + 1), FakeCode(log, "beside", lambda count: 4)]
    found = click(codes, "liver", 1, read_label(tmp_path / "label.nii.gz"), clicks=3, turn=0)
    assert [name for name, *_ in log] == ["own", "beside", "beside", "own", "own", "beside"]
    assert log[0][1:] == log[1][1:] and log[2][1:] == log[3][1:] and log[4][1:] == ((3, 0, 0), True)
    assert found[0] == Clicked(1, (1.0, 1.0), (pytest.approx(2 / 3), 1.0))
    assert [each.dice[0] for each in found[1:]] == [pytest.approx(6 / 7), 1.0]
