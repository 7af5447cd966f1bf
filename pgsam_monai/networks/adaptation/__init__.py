"""Ways to adapt a frozen image encoder with few trained parameters."""
