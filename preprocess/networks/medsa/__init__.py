"""Med-SA's own decisions and configs."""
