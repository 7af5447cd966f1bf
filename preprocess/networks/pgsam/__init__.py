"""PG-SAM's own decisions and configs."""
