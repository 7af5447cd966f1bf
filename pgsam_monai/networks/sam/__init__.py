"""Segment Anything's three parts, one file per box of its figure, for any input size and class count."""
