"""From a prediction to the statements about it."""
