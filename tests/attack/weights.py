"""Checkpoints that are not what was asked for (point 9)."""

from tests.attack.bench import Checks

CHECKS: Checks = {}
