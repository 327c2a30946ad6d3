"""Drawn stand-ins for the kinds of image that Vigil reads. No patient's image, and nothing derived from one."""
