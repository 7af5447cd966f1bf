"""Which files make a DICOM series, and which can't be read rightly. pydicom and numpy only."""
