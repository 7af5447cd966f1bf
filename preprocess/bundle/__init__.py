"""A plan becomes a MONAI bundle."""
