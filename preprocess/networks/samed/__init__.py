"""SAMed's own decisions and configs."""
