"""A page to look at: one HTML file with a prediction on its image, for any browser, from disk, no network."""
