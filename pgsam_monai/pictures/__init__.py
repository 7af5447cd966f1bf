"""What a person looks at: overlays, maps of a network's prior, and a page for any browser."""
