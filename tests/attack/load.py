"""Load and work that hangs or dies (points 5, 6)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
