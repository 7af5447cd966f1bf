"""The UNet baseline's own decisions and configs."""
