"""A recipe, and an evaluated checkpoint for the tests of the evaluation, of `--check` and of `--audit`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import synthetic_checkpoints
from tests.support.short_evaluation import shorten
from tests.support.tiny_recipe import TINY
from train import evaluate


@pytest.fixture
def short_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.evaluate` is as short as for `evaluated`."""
    shorten(monkeypatch)


@pytest.fixture(scope="session")
def evaluated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated checkpoint folder of ultrasound. Tests only read it."""
    folder = synthetic_checkpoints.trained(tmp_path_factory.mktemp("evaluated") / "ultrasound", "ultrasound", data)
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert evaluate.main([str(folder), "--data", str(data)]) == 0
    return folder


@pytest.fixture(scope="session")
def content(evaluated: Path) -> dict[str, Any]:
    """The evaluation.json of `evaluated`. Tests only read it."""
    return json.loads((evaluated / "evaluation.json").read_text())


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """The recipe TINY as a file."""
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file
