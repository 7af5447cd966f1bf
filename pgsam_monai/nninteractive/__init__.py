"""Answers what the SlicerNNInteractive extension of 3D Slicer asks, in its own protocol."""
