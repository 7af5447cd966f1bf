"""How good is it: predictions against references, other data sets, few cases, simulated users."""
