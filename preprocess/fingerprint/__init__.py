"""What is in this data set: every case measured once, and all of them folded into a summary."""
