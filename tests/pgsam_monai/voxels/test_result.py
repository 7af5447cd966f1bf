"""What a bundle finds, in the values of a data set that was merged for it."""

import numpy as np

from pgsam_monai.voxels.result import LabelResult


def test_another_data_set_s_values_and_structures():
    names = ["background", "spleen", "liver", "aorta"]
    result = LabelResult(
        voxels=np.array([[[0, 1, 2, 3]]]), affine=np.eye(4), source="x", names=names, values=[0, 1, 2, 3]
    )
    part = result.of_part({3: 0, 1: 300, 9: 4}, background=255)
    assert part.voxels.tolist() == [[[255, 300, 255, 0]]]
    assert part.label_names == {"spleen": 300, "aorta": 0}
