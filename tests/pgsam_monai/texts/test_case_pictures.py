import io

import numpy as np
from PIL import Image

from pgsam_monai.data.splits import FewSlices
from pgsam_monai.texts.case_pictures import tiles_of, used_slices
from pgsam_monai.texts.pages import TILE_PX, png_of_slice, png_of_slices


def test_tiles_lie_in_the_middle_of_equal_parts():
    assert tiles_of(90) == (5, 15, 25, 35, 45, 55, 65, 75, 85)
    assert tiles_of(9) == tuple(range(9))
    assert tiles_of(3) == (0, 1, 2)
    assert tiles_of(1) == (0,)


def test_used_are_the_few_that_train_and_all_that_are_predicted():
    splits = {
        "cases": {"a": {}, "b": {"slices": [0, 2]}, "c": {}, "d": {}, "e": {}},
        "folds": [{"training": ["a", "b"], "validation": ["c"]}],
        "test": ["d"],
    }
    depths = {"a": 3, "b": 4, "c": 2, "d": 1, "e": 5}
    assert used_slices(splits, None, depths) == {
        "a": {0, 1, 2},
        "b": {0, 2},
        "c": {0, 1},
        "d": {0},
        "e": set(),
    }
    few = FewSlices(spec="slices:2", seed=0, count=2)
    places = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 2)]
    drawn = {places[place] for place in few.draw(5)}
    used = used_slices(splits, few, depths)
    assert {(case, index) for case in "ab" for index in used[case]} == drawn
    assert used["c"] == {0, 1}


def test_slices_stand_in_reading_order_in_one_scale_of_grey():
    volume = np.zeros((1, 4, 8, 5), np.float32)  # twice as wide as high
    volume += np.arange(5) / 4
    picture = np.asarray(Image.open(io.BytesIO(png_of_slices(volume, (1.0, 1.0)))))
    width, height = TILE_PX, TILE_PX // 2
    assert picture.shape == (2 * height, 3 * width)
    greys = [[int(picture[row * height + 9, column * width + 9]) for column in range(3)] for row in range(2)]
    assert greys == [[0, 64, 128], [191, 255, 0]]  # the last place is empty


def test_a_single_slice_is_shown_as_large_as_alone():
    volume = np.random.default_rng(0).random((1, 5, 6, 1), np.float32)
    assert png_of_slices(volume, (1.0, 2.0)) == png_of_slice(volume[..., 0], (1.0, 2.0))
    colour = np.random.default_rng(0).random((3, 5, 6, 1), np.float32)
    assert Image.open(io.BytesIO(png_of_slices(colour, (1.0, 1.0), colour=True))).mode == "RGB"
