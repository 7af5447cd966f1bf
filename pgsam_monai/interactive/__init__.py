"""Interactive segmentation: a network answers clicks, boxes and masks on a volume, and how well it does is measured."""

from pgsam_monai.interactive.segmenter import Segmenter

__all__ = ["Segmenter"]
