"""Which cases train, which validate, which test, and which few are chosen."""
