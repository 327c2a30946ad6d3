"""Predictions -> figures with intervals."""
