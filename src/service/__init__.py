"""Answers a visitor's calls."""
