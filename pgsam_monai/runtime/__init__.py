"""Predictions of exported networks, without torch and MONAI."""
