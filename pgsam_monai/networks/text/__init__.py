"""CLIP: one tower that reads texts, one that sees images, and the space that both write to."""
