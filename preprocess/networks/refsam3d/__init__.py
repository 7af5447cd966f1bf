"""RefSAM3D's own decisions and configs."""
