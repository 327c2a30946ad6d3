"""A recipe and its samples -> the weights of the best epoch."""
