"""What a public page is up against, tried on this one: `python -m tests.attack` (docs/HARDENING.md)."""
