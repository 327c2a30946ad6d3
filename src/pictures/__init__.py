"""Bytes -> an upright 8-bit RGB picture, or a refusal that says why."""
