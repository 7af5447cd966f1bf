"""A `Segmenter` of the checkout that PYTHONPATH names, told what to do over pipes: `clicks_beside_code.py` starts it.

Each line of stdin is a JSON object, each gets one on stdout: {"begin": …} makes the segmenter, {"image": …} opens an
image, {"click": [i, j, k], "label": …, "positive": …, "mask": file} clicks, is told seconds, and writes the mask.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

import pgsam_monai
from pgsam_monai.interactive.segmenter import Segmenter


def main() -> None:
    segmenter, answers = None, sys.stdout
    sys.stdout = sys.stderr  # whatever else prints
    for line in sys.stdin:
        said = json.loads(line)
        if "begin" in said:
            torch.set_num_threads(said["threads"])
            segmenter = Segmenter.from_weights(said["begin"], **said["options"])
            told: dict[str, Any] = {"code": pgsam_monai.__file__}
        elif "image" in said:
            segmenter.set_image(said["image"])
            told = {}
        else:
            told = {"seconds": clicked(segmenter, said)}
        print(json.dumps(told), file=answers, flush=True)


def clicked(segmenter: Segmenter, said: dict[str, Any]) -> float:
    """Seconds until the mask is there, which is written afterwards."""
    begun = time.perf_counter()
    segmenter.add_click(said["click"], said["label"], positive=said["positive"])
    mask = segmenter.mask(said["label"])
    seconds = time.perf_counter() - begun
    np.save(said["mask"], mask)
    return seconds


if __name__ == "__main__":
    main()
