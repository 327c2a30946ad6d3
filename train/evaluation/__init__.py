"""Evaluation: from predictions to metrics with their intervals."""
