"""What a MONAI Label server asks of a bundle: inference by classes, text, clicks and boxes, and scores."""
