"""Bodies, files and routes (points 1, 2), memory and disk (7), headers (8)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
