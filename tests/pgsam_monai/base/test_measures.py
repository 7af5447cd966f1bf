import numpy as np
import pytest

from pgsam_monai.base.measures import (
    SAMPLED,
    by_percentiles,
    percentiles_of,
    relative_position,
    to_anatomical,
)


def test_to_anatomical():
    assert to_anatomical(("s", "l", "a"), "SLA") == ("l", "a", "s")
    assert to_anatomical((1, 2, 3), "") == (1, 2, 3)


@pytest.mark.parametrize(
    "orientation, position",
    [("RAS", (0.1, 0.5, 0.875)), ("LPS", (0.9, 0.5, 0.875)), ("IPR", (0.875, 0.5, 0.9))],
)
def test_a_position_rises_to_the_right_the_front_and_the_head(orientation, position):
    assert relative_position((0, 2, 3), (5, 5, 4), orientation) == pytest.approx(position)


def test_percentiles_of_few_are_exact_and_of_many_near():
    assert percentiles_of(np.arange(201.0)) == (1.0, 199.0)
    rows = np.tile(np.arange(512, dtype=np.float32), 4096)  # a step of 8 would see every eighth column alone
    assert rows.size > 4 * SAMPLED
    assert percentiles_of(rows) == pytest.approx(np.percentile(rows, (0.5, 99.5)), abs=1)


def test_by_percentiles():
    assert by_percentiles(30.0, (10.0, 50.0)) == 0.5
