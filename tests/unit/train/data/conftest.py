"""The datasets under the name `root`: these tests call the package under test `data`."""

from pathlib import Path

import pytest


@pytest.fixture
def root(data: Path) -> Path:
    """The `--data` folder with every made-up dataset. Tests only read it."""
    return data
