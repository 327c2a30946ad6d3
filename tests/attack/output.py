"""What a visitor wrote never runs, and no secret leaves (point 8)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
