"""What planning and training both know, without torch: image files, labels, structures in words, weights, errors."""
