"""The AutoSAM baseline's own decisions and configs."""
