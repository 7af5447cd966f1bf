"""Trained networks that become one bundle: which there are, which are chosen out of fold, what the bundle says."""
