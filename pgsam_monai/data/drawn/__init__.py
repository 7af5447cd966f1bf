"""Volumes of drawn anatomy and of random shapes, as many as one likes, and what can be asked about their slices."""
