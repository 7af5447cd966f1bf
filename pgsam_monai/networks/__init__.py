"""Networks: a folder each, SAM's parts at any input size, ways to adapt them, and what all on slices or volumes share."""
