"""DICOM: which files make a series and which can't be read rightly, and label maps out as segmentation objects.

`series` needs pydicom and numpy only: the planner uses it too. The others need highdicom.
"""
