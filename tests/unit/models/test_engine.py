"""OpenVINO and PyTorch give the same answers, another engine can run the networks, and the gate's features cost little
beside the pass that they come with."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src import local, score
from src.models import checkpoints, engine, engine_choice, openvino_engine
from src.models.architectures import CLASSIFIERS
from src.models.checkpoints import build
from src.models.config import LesionFinderConfig
from src.models.engine import TorchForward
from src.models.engine_choice import EngineRefused
from src.models.forward import Forward, Precision
from src.models.lesion_finder import LesionFinder
from src.models.openvino_engine import OpenVINOForward
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.picture import Picture
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT

SIZES = {"vigil_cnn28": (1, 28), "vigil_attention_cnn96": (3, 96)}
TASK = {"vigil_cnn28": "breastmnist", "vigil_linear28": "breastmnist", "vigil_attention_cnn96": "histopathology"}


class DoubleForward:
    """An engine that shares no code with TorchForward: it computes with a copy of the module, in float64."""

    def __init__(
        self, module: nn.Module, device: torch.device, input_size: tuple[int, int, int], _: Precision = "float32"
    ) -> None:
        self.input_size = input_size
        self.module = copy.deepcopy(module).double()
        self.device = device
        self.calls = 0

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        assert pixels.dtype == torch.float32
        assert pixels.shape[1:] == self.input_size
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

    def forward_of(
        module: nn.Module, device: torch.device, input_size: tuple[int, int, int], precision: Precision
    ) -> Forward:
        engines.append(DoubleForward(module, device, input_size, precision))
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


FINDER = LesionFinderConfig(
    architecture="vigil_lesion_unet",
    side=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    threshold=0.5,
    smallest=0.0,
    margin=0.0,
    sha256="0" * 64,
)


def test_another_engine_runs_the_lesion_finder(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(FINDER.architecture, 1, 3)
    expected = LesionFinder(network, FINDER).probabilities(image)
    monkeypatch.setattr(engine, "forward_of", DoubleForward)
    finder = LesionFinder(network, FINDER)
    np.testing.assert_allclose(finder.probabilities(image), expected, atol=1e-4)


def blotches(seed: int) -> Picture:
    """A made-up picture like those with which `synthetic_checkpoints.network` sets its batch normalisation.

    On other pictures the values in a random network reach 1,000, and float32 itself is inexact.
    """
    random = np.random.default_rng(seed)
    ground, spots = random.integers(0, 256, (1, 1, 3)), random.integers(0, 256, (4, 4, 3))
    colours = (0.4 * ground + 0.6 * spots).astype(np.uint8)
    return Picture(Image.fromarray(colours).resize((150, 120), Image.Resampling.BICUBIC), ())


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Predictor]:
    """The same made-up checkpoint of a network, run by an engine."""

    def made(architecture: str, name: str) -> Predictor:
        folder = tmp_path / architecture
        task = TASK.get(architecture, "skin")
        if not folder.exists():
            synthetic_checkpoints.write(folder, task, architecture, test_time_augmentation="flips")
        monkeypatch.setenv(engine_choice.VARIABLE, name)
        return Predictor(checkpoints.load(task, folder))

    return made


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(CLASSIFIERS))
def test_both_engines_give_the_same_answers(architecture: str, predictor: Callable[[str, str], Predictor]) -> None:
    by_torch, by_openvino = predictor(architecture, "torch"), predictor(architecture, "openvino")
    assert isinstance(by_torch._backbones[0], TorchForward)
    # Before the head of a logistic regression there is nothing to compute.
    assert isinstance(by_openvino._backbones[0], TorchForward if architecture == "vigil_linear28" else OpenVINOForward)
    answers = set()
    for seed in range(3):
        expected, found = (one.predict(blotches(seed), "Grad-CAM") for one in (by_torch, by_openvino))
        # Otherwise a softmax hides differences of the logits.
        assert max(expected.probabilities) < 0.99
        answers.add(round(expected.p_malignant, 2))
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
        assert expected.heat_map is not None
        assert found.heat_map is not None
        np.testing.assert_allclose(found.heat_map.values, expected.heat_map.values, atol=0.01)
        (_, features), (_, others) = (one.gate_features(blotches(seed)) for one in (by_torch, by_openvino))
        torch.testing.assert_close(others, features, rtol=1e-4, atol=1e-4)
    assert len(answers) > 1
    single = by_torch.predict(blotches(0)).probabilities
    batch = [blotches(seed) for seed in range(3)]
    first, *_ = by_openvino.predict_many(batch)
    assert isinstance(first, Prediction)
    assert first.probabilities == pytest.approx(single, abs=1e-4)
    # As a worker process gets it.
    by_openvino._backbones[0] = pickle.loads(pickle.dumps(by_openvino._backbones[0]))
    assert by_openvino.predict(blotches(0)).probabilities == pytest.approx(single, abs=1e-4)


def test_both_engines_find_the_same_lesion(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    segmenter: Any = build(FINDER.architecture, 1, 3)
    with torch.no_grad():
        # Otherwise an untrained network gives nearly the same logit everywhere.
        segmenter.head.weight.mul_(2 / segmenter.eval()(torch.rand(1, 3, 32, 32)).std())
    monkeypatch.setenv(engine_choice.VARIABLE, "torch")
    expected = LesionFinder(segmenter, FINDER).probabilities(image)
    monkeypatch.setenv(engine_choice.VARIABLE, "openvino")
    found = LesionFinder(segmenter, FINDER).probabilities(image)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.03


def test_a_pickled_engine_gives_the_same_answers(predictor: Callable[[str, str], Predictor]) -> None:
    one = predictor("vigil_cnn28", "openvino")
    another = pickle.loads(pickle.dumps(one._backbones[0]))
    pixels = torch.rand(5, 1, 28, 28)
    for found, expected in zip(another(pixels), one._backbones[0](pixels), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    # Otherwise a processor with bfloat16 would use it.
    assert another._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_concurrent_calls_do_not_mix(predictor: Callable[[str, str], Predictor]) -> None:
    forward = predictor("vigil_cnn28", "openvino")._backbones[0]
    batches = [torch.rand(1 + i % 3, 1, 28, 28) for i in range(60)]
    expected = [forward(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(forward, batches))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-6)


def broken(*_: object) -> None:
    raise RuntimeError("No such operation.\nA stack trace.")


@pytest.mark.parametrize("fault", ["not installed", "does not convert"])
def test_auto_falls_back_to_torch_and_says_so_once(
    fault: str,
    predictor: Callable[[str, str], Predictor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = predictor("vigil_cnn28", "torch").predict(blotches(0))
    if fault == "not installed":
        monkeypatch.setitem(sys.modules, "src.models.openvino_engine", None)
    else:
        monkeypatch.setattr(openvino_engine, "converted", broken)
    engine._fall_back.cache_clear()
    caplog.clear()
    for _ in range(2):
        fallen = predictor("vigil_cnn28", "auto")
        assert isinstance(fallen._backbones[0], TorchForward)
        assert fallen.predict(blotches(0)).logits == pytest.approx(expected.logits, abs=1e-6)
    (line,) = [one.getMessage() for one in caplog.records if one.name == engine.__name__]
    assert line.startswith("PyTorch runs the networks, because OpenVINO does not work here: ")
    with pytest.raises(EngineRefused, match=r"^VIGIL_ENGINE is openvino, and OpenVINO does not work here: .*\.$"):
        predictor("vigil_cnn28", "openvino")


def test_only_openvino_computes_in_bfloat16(
    predictor: Callable[[str, str], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = predictor("vigil_cnn28", "openvino")
    fast = Predictor(exact.checkpoint, precision="bfloat16")
    assert isinstance(fast._backbones[0], OpenVINOForward)
    assert fast._backbones[0]._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
    assert fast.predict(blotches(0)).probabilities == pytest.approx(exact.predict(blotches(0)).probabilities, abs=0.1)
    monkeypatch.setenv(engine_choice.VARIABLE, "torch")
    with pytest.raises(EngineRefused, match=r"^Only OpenVINO computes in bfloat16"):
        Predictor(exact.checkpoint, precision="bfloat16")


def test_a_gpu_always_uses_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, "openvino")
    forward = engine.forward_of(nn.Conv2d(1, 1, 1), torch.device("meta"), (1, 8, 8))
    assert isinstance(forward, TorchForward)


@pytest.mark.parametrize("value", ["onnx", "OpenVINO", "cpu", "auto,torch"])
def test_another_value_is_refused_in_one_sentence(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, value)
    sentence = "VIGIL_ENGINE must be auto, openvino or torch."
    with pytest.raises(EngineRefused) as caught:
        engine_choice.chosen()
    assert str(caught.value) == sentence
    table = tmp_path / "table.csv"
    table.write_text("p_malignant,label\n0.5,benign\n")
    assert score.main(["breastmnist", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"score: {sentence}\n"
    assert local.main(["ultrasound", str(table)]) == 2
    assert capsys.readouterr().err == f"local: {sentence}\n"


@pytest.mark.parametrize("value", ["", " ", "auto"])
def test_empty_is_not_set(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, value)
    assert engine_choice.chosen() == "auto"


WATCHED = """
import sys, threading
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event in ("socket.getaddrinfo", "socket.connect") else None)
import torch
from src.models.openvino_engine import OpenVINOForward
OpenVINOForward(torch.nn.Conv2d(1, 1, 1).requires_grad_(False), (1, 8, 8))(torch.zeros(1, 1, 8, 8))
[thread.join(5) for thread in threading.enumerate() if thread is not threading.current_thread()]
print(seen)
"""


@pytest.mark.slow
def test_openvino_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    """Without the guard, its import sends an event to Google Analytics and writes an id into the home folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    command = [sys.executable, "-c", WATCHED]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.rglob("*openvino*")) == []


SIGNALLED = """
import os, signal
from torch import nn
from src.models.openvino_engine import OpenVINOForward

def forward():
    return OpenVINOForward(nn.Conv2d(1, 1, 3).eval().requires_grad_(False), (1, 8, 8))

arrived = []
signal.signal(signal.SIGUSR1, lambda *_: arrived.append(1))
first, second = forward(), forward()
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
print("arrived", len(arrived))
"""


def test_a_signal_arrives_after_engines_have_come_and_gone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "arrived 1\n"), done.stderr


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
