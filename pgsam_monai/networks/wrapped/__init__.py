"""What MONAI's networks need to stand beside the SAM networks: slices or volumes in, the same logits out."""
