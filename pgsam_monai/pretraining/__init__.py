"""Weights of our own: a promptable network learns on drawn anatomy; its weights are what others start from."""
