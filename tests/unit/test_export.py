"""src.export: an exported network answers as Vigil does, without PyTorch and without Vigil."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from src import export
from src.models import checkpoints
from src.models.openvino_engine import openvino
from src.models.predictor import Predictor
from src.models.standalone import Metadata
from tests.support import synthetic_checkpoints

pytestmark = pytest.mark.slow

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "skin": ("skin", "tf_efficientnetv2_b0", {"test_time_augmentation": "flips"}),
    "histopathology": ("histopathology", "vigil_attention_cnn96", {"test_time_augmentation": "d4"}),
    "grey, centre": ("breastmnist", "vigil_cnn28", {"crop_mode": "center", "interpolation": "bilinear"}),
    "one logit": ("breastmnist", "vigil_linear28", {}),
}
ONLY_THREE = """
import importlib.abc, runpy, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "timm", "torchvision", "src", "openvino", "onnx", "safetensors"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def draw(folder: Path, n: int = 3) -> list[Path]:
    files = []
    for seed in range(n):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(colours).resize((150 + 31 * seed, 120), Image.Resampling.BICUBIC)
        exif = picture.getexif()
        exif[0x0112] = 6  # lies on its side
        files.append(folder / f"{seed}.png")
        picture.save(files[-1], exif=exif)
    return files


@pytest.fixture(params=list(CASES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    task, architecture, overrides = CASES[request.param]
    return task, synthetic_checkpoints.write(tmp_path / "checkpoint", task, architecture, **overrides)


def test_the_sample_gives_vigils_probabilities(folder: tuple[str, Path], tmp_path: Path) -> None:
    task, weights = folder
    out = tmp_path / "out"
    assert export.main([task, "--out", str(out), "--weights", str(weights)]) == 0
    predictor = Predictor(checkpoints.load(task, weights))
    files = draw(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ONLY_THREE, str(out / "predict.py"), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == list(map(str, files))
    for line, file in zip(lines, files, strict=True):
        expected = predictor.predict(file)
        assert line["p_malignant"] == pytest.approx(expected.p_malignant, abs=1e-3)
        assert list(line["probabilities"]) == list(predictor.task.codes)
        assert list(line["probabilities"].values()) == pytest.approx(expected.probabilities, abs=1e-3)
        refers = expected.p_malignant >= predictor.checkpoint.config.vigil.default_threshold
        assert line["decision"] == ("refer" if refers else "no referral")
    assert len((out / "predict.py").read_text().splitlines()) < 36


def test_both_formats_carry_the_same_network_and_metadata(folder: tuple[str, Path], tmp_path: Path) -> None:
    task, weights = folder
    for name in export.FORMATS:
        assert export.main([task, "--out", str(tmp_path / name), "--weights", str(weights), "--format", name]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    core = openvino.Core()
    model = core.read_model(tmp_path / "openvino" / "model.xml")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    about = Metadata.model_validate_json(session.get_modelmeta().custom_metadata_map["vigil"])
    assert about == Metadata.model_validate_json(model.get_rt_info(["vigil"]).astype(str))
    vigil = checkpoints.load(task, weights).config.vigil
    assert (about.temperature, about.threshold) == (vigil.temperature, vigil.default_threshold)
    assert about.weights_sha256 == vigil.sha256
    shape = (5, about.side, about.side, 1 if about.mode == "L" else 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (ours,), (theirs,) = session.run(None, {"pixels": pixels}), compiled({"pixels": pixels}).values()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-5)


def test_a_network_that_reads_a_part_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = synthetic_checkpoints.write(tmp_path / "checkpoint", "ultrasound", "vigil_cnn28")
    assert export.main(["ultrasound", "--out", str(tmp_path), "--weights", str(weights)]) == 0
    assert "reads the scanned field of an image" in capsys.readouterr().err


def test_failures_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failure(*arguments: str) -> tuple[int, str]:
        status = export.main(["breastmnist", "--out", str(tmp_path / "out"), *arguments])
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return status, error

    assert failure("--weights", str(tmp_path))[0] == 1
    weights = str(synthetic_checkpoints.write(tmp_path / "checkpoint", "breastmnist"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert failure("--weights", weights)[0] == 1
    (tmp_path / "out").rmdir()
    (tmp_path / "out").touch()
    assert failure("--weights", weights)[0] == 1
