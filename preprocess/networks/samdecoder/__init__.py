"""The own decisions and configs of the baseline with SAM's decoder."""
