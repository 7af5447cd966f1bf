"""Images of clients are read in a process of their own, which a damaged file may end."""
