"""What a public page is up against, tried on this one: `python -m tests.attack` (issue 12; docs/HARDENING.md)."""
