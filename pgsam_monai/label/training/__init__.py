"""Training from the server."""
