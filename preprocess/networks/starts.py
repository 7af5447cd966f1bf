"""Which networks are planned to start from our own weights."""

STARTS = {
    "samed": True,
    "pgsam": False,
    "hsam": False,
    "medsa": False,
    "autosam": False,
    "samdecoder": False,
}
"""Network -> whether plans start it from drawn_tiny where its backbone is `vit_tiny` and nobody wishes otherwise. Each
stays False until it was measured to be better than random numbers."""
