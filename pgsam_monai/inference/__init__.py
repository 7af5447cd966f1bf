"""How a network walks over a volume, in which precision, and how unsure it is."""
