"""The 3-D baseline's own decisions and configs."""
