"""How well a network answers simulated users."""
