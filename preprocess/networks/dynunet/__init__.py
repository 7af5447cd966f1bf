"""The DynUNet baseline's own decisions and configs."""
