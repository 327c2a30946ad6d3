"""A drawn slide as pixels and as files, and a small network that reads it."""

from pathlib import Path

import numpy as np
import pytest

from examples.phantoms import slide
from examples.phantoms.slide import DrawnSlide
from src.models import checkpoints
from src.models.predictor import Predictor
from tests.support import slide_files, synthetic_checkpoints


@pytest.fixture(scope="session")
def drawn() -> DrawnSlide:
    """A drawn lymph node of 8 × 6 fields at 0.243 µm per pixel, with two islands of tumour."""
    return slide.draw(np.random.default_rng(0), (8, 6), variants=2)


@pytest.fixture(scope="session")
def slide_file(drawn: DrawnSlide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn slide as a pyramid of three levels."""
    return slide_files.write(tmp_path_factory.mktemp("slides") / "node.tif", drawn.pixels, slide.FINE_MPP, (1, 4, 16))


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network for histopathology."""
    return synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "histopathology")


@pytest.fixture(scope="session")
def predictor(checkpoint_folder: Path) -> Predictor:
    """The predictor of that network."""
    return Predictor(checkpoints.load("histopathology", checkpoint_folder))
