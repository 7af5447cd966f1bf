"""The UNETR baseline's own decisions and configs."""
