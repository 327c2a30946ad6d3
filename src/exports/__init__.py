"""A result -> a file."""
