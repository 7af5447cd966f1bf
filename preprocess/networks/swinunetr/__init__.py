"""The SwinUNETR baseline's own decisions and configs."""
