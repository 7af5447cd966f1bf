"""Networks: SAM's parts at any input size, ways to adapt them, and one module per published network."""
