"""What stands between the network and MONAI Label's application; most of it only inside its environment."""
