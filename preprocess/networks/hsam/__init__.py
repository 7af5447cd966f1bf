"""H-SAM's own decisions and configs."""
