"""Cases on disk, the store of preprocessed ones, and the datasets that training and validation read."""
