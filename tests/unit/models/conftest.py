"""Checkpoint folders: made-up and embedded ones."""

from pathlib import Path

import pytest

from src.models import checkpoint_info
from tests.support import synthetic_checkpoints


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole checkpoint of BreastMNIST; no variable of the environment asks for another."""
    for name in ("OWNER", "SKIN", "BREASTMNIST"):
        monkeypatch.delenv(f"VIGIL_WEIGHTS_{name}", raising=False)
    return synthetic_checkpoints.write(tmp_path / "asked", "breastmnist")


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedded default for BreastMNIST, with other weights than `folder`."""
    monkeypatch.setattr(checkpoint_info, "EMBEDDED", tmp_path / "checkpoints")
    return synthetic_checkpoints.write(tmp_path / "checkpoints" / "breastmnist", "breastmnist", seed=1)
