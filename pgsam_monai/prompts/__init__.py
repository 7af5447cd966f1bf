"""Clicks, boxes and masks: who gives them, where they lie, and the files that hold them."""
