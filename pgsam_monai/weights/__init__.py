"""Pretrained weights: where they lie on this machine, and how they come here."""
