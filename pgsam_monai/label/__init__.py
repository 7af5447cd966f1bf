"""Bundles served by MONAI Label: what its server runs, and the command that starts it."""
