"""What the app is made of, and whom it talks to (point 10)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
