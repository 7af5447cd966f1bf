"""What a training is made of beside data and network: losses, schedules, handlers, checkpoints, where it starts."""
