"""What is done to voxels with numpy alone: MONAI transforms wrap it, and predictions without torch are made of it."""
