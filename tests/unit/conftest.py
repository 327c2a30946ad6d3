"""Models for the tests of several rooms."""

import pytest

from src.models import checkpoints
from src.models.predictor import Predictor
from src.service.worker_pool import Models
from tests.support import synthetic_checkpoints


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small random network for BreastMNIST."""
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "breastmnist")
    return {"breastmnist": Predictor(checkpoints.load("breastmnist", folder))}
