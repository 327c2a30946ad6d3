"""A prediction -> the statements made about it."""
