"""Networks, a folder each; SAM's parts at any input size, ways to adapt them, what all on slices or volumes share."""
