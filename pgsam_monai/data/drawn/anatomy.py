"""Random anatomy: trunks, hearts, heads and limbs whose organs have the right neighbours and the wrong everything else.

Sizes, places, sides and shapes are drawn anew for each scene, far beyond what people have: a network shall learn what a
structure is, not where a liver lies. Millimetres; x to the right, y to the front, z upwards.
"""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.head import head
from pgsam_monai.data.drawn.heart import heart
from pgsam_monai.data.drawn.limb import limb
from pgsam_monai.data.drawn.scenes import Scene, SceneBuilder
from pgsam_monai.data.drawn.trunk import trunk


def draw_anatomy(rng: np.random.Generator) -> Scene:
    """A scene of one of the regions."""
    builder = SceneBuilder(rng)
    region = rng.choice([trunk, heart, head, limb], p=[0.45, 0.2, 0.2, 0.15])
    reach = region(builder)
    return builder.finish(reach=reach, warp_mm=0.03 * reach * rng.uniform(0.2, 1.2))
