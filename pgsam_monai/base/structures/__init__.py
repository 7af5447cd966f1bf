"""What is known of anatomical structures in words, and how they are found by any spelling. Standard library only."""
