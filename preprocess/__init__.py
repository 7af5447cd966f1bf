"""What is in this data set, and how should it be trained? The torch-free side of pgsam-monai."""

__version__ = "0.1.0"
