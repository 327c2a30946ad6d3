"""Arguments of the wrong type, over HTTP (point 4)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
