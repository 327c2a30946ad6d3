"""Pictures that are none, or that cost more than they show (point 3)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
