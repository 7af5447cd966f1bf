"""Files in, files of predictions out: by classes, by clicks and boxes, by a text, as label maps or DICOM-SEG."""
