"""A picture -> a prediction."""
