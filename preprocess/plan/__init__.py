"""The plan: every decision with its reason, and what a person may wish otherwise."""
