"""Attacks on a running app: `python -m tests.attack` (docs/HARDENING.md)."""
