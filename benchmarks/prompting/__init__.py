"""Measuring weights as they are by simulated users: the data sets, the models, the tables."""
