"""What the running app needs. Imports nothing of `train`."""
