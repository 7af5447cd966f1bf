"""Texts for each structure: a curated library, the editable file of a bundle, and language models that refine it."""
