"""Which networks are planned to start from our own weights, and what that brought."""

STARTS = {
    "samed": "3 patients of ACDC, 440 steps: Dice 0.668, from random numbers 0.497",
    "pgsam": None,
    "hsam": "3 patients of ACDC, 240 steps: Dice 0.685, from random numbers 0.524",
    "medsa": "Hippocampus, 300 steps: Dice 0.850, from random numbers 0.839, and 97 % of clicks obeyed, not 15 %",
    "autosam": None,
    "samdecoder": None,
}
"""Network -> the figure for which plans start it from drawn_tiny where its backbone is `vit_tiny` and nobody wishes
otherwise. None until it was measured to be better than random numbers."""
