"""What ``network_speed.py`` is made of: the clock, the plain reference, the processor, the parameter table."""
