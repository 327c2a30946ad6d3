"""Another engine can run the networks, and the gate's features cost little beside the pass that they come with."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.models import checkpoints, engine
from src.models.checkpoints import build
from src.models.config import LesionFinderConfig
from src.models.lesion_finder import LesionFinder
from src.models.networks import CLASSIFIERS
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.picture import Picture
from tests.support import synthetic_checkpoints

SIZES = {"vigil_cnn28": (1, 28), "vigil_attention_cnn96": (3, 96)}


class DoubleForward:
    """An engine that shares no code with TorchForward: it computes with a copy of the module, in float64."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = copy.deepcopy(module).double()
        self.device = device
        self.calls = 0

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        assert pixels.dtype == torch.float32
        self.calls += 1
        with torch.no_grad():
            outputs = self.module(pixels.double())
        return tuple(one.float() for one in (outputs if isinstance(outputs, tuple) else (outputs,)))


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


def test_another_engine_runs_the_classifier(
    image: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints.load("breastmnist", synthetic_checkpoints.write(tmp_path, "breastmnist"))
    expected = Predictor(checkpoint).predict(Picture(image, ()), "Grad-CAM")
    engines: list[DoubleForward] = []

    def forward_of(module: nn.Module, device: torch.device) -> engine.Forward:
        engines.append(DoubleForward(module, device))
        return engines[-1]

    monkeypatch.setattr(engine, "forward_of", forward_of)
    predictor = Predictor(checkpoint)
    found = predictor.predict(Picture(image, ()), "Grad-CAM")
    (many,) = predictor.predict_many([Picture(image, ())])
    assert [one.calls for one in engines] == [2]
    assert found.logits == pytest.approx(expected.logits, abs=1e-4)
    assert isinstance(many, Prediction)
    assert many.logits == pytest.approx(found.logits, abs=1e-4)
    assert found.heat_map is not None
    assert expected.heat_map is not None
    np.testing.assert_allclose(found.heat_map.values, expected.heat_map.values, atol=1e-3)


def test_another_engine_runs_the_lesion_finder(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LesionFinderConfig(
        architecture="vigil_lesion_unet",
        side=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        threshold=0.5,
        smallest=0.0,
        margin=0.0,
        sha256="0" * 64,
    )
    network = build(config.architecture, 1, 3)
    expected = LesionFinder(network, config).probabilities(image)
    monkeypatch.setattr(engine, "forward_of", DoubleForward)
    finder = LesionFinder(network, config)
    np.testing.assert_allclose(finder.probabilities(image), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", sorted(CLASSIFIERS - {"vigil_linear28"}))
def test_the_gates_features_cost_little(architecture: str) -> None:
    """Test-time augmentation computes them for every view, although the gate needs those of the first alone."""
    channels, side = SIZES.get(architecture, (3, 64))
    network = build(architecture, 2, channels).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _, stages = network.forward_intermediates(torch.zeros(1, channels, side, side))
    # A mean takes an addition per value, a standard deviation another mean, a difference, a square and an addition.
    features = 5 * sum(stage.numel() for stage in stages)
    assert stages
    assert features < 0.02 * counter.get_total_flops()
