"""Phantom abdomens: drawn shapes with CT-like grey values, never patients.

They exist so that the whole pipeline can be tried and tested where no medical data may be stored.
A score reached on them says that the software works, and nothing about medicine.
"""

from pgsam_monai.data.phantom.draw import ORGANS, Phantom, make_phantom
from pgsam_monai.data.phantom.write import write_phantom

__all__ = ["ORGANS", "Phantom", "make_phantom", "write_phantom"]
