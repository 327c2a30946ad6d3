"""Models of all tasks."""

import pytest

from src.service.model_loading import Models
from tests.support.small_models import small_models


@pytest.fixture(scope="session")
def all_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small random network for each task, and two for BreastMNIST."""
    return small_models(tmp_path_factory.mktemp("checkpoints"))
