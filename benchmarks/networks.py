"""The candidates that read an image: eager PyTorch, the usual Grad-CAM, ONNX Runtime, OpenVINO and Vigil."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from torch import Tensor

from src import export
from src.models import checkpoint_info, checkpoints, standalone
from src.models.backbone import Backbone
from src.models.checkpoints import Checkpoint
from src.models.openvino_engine import OpenVINOForward
from src.models.predictor import Predictor
from src.pictures.picture import Picture

EAGER = "eager PyTorch"
Candidates = dict[str, Callable[[], object]]


def embedded(task: str) -> Checkpoint:
    """The embedded checkpoint of a task."""
    return checkpoints.load(task, checkpoint_info.EMBEDDED / task)


def made_up(width: int, height: int, seed: int = 0) -> Image.Image:
    """A made-up RGB image with coarse and fine structure, so that its JPEG is as large as that of a photo."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(40, 216, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    noise = random.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def engines(checkpoint: Checkpoint, batch: int) -> Candidates:
    """Each engine's pass over a batch: through the backbone and, except with OpenVINO, through the head."""
    size = checkpoint.config.pretrained_cfg.input_size
    pixels = torch.randn(batch, *size)
    network, session = checkpoint.network, _onnx(checkpoint)
    raw = np.random.default_rng(0).integers(0, 256, (batch, size[1], size[2], size[0]), dtype=np.uint8)
    exact = OpenVINOForward(Backbone(network), size)
    fast = OpenVINOForward(Backbone(network), size, "bfloat16")
    return {
        EAGER: lambda: _eager(network, pixels),
        "ONNX Runtime": lambda: session.run(None, {"pixels": raw}),
        "OpenVINO float32": lambda: exact(pixels),
        "OpenVINO bfloat16": lambda: fast(pixels),
    }


def eager(checkpoint: Checkpoint) -> Callable[[], object]:
    """One pass of eager PyTorch over one view of one image."""
    pixels = torch.randn(1, *checkpoint.config.pretrained_cfg.input_size)
    return lambda: _eager(checkpoint.network, pixels)


def heat_maps(checkpoint: Checkpoint) -> Candidates:
    """One image with and without a heat map: by PyTorch and pytorch-grad-cam, and by Vigil's Predictor."""
    network = checkpoint.network
    size = checkpoint.config.pretrained_cfg.input_size
    pixels, picture = torch.randn(1, *size), Picture(made_up(600, 450), ())
    predictor = Predictor(checkpoint)
    layer = list(network.children())[-3] if not hasattr(network, "bn2") else network.bn2

    def usual() -> None:
        _eager(network, pixels)
        with torch.enable_grad(), GradCAM(model=network, target_layers=[layer]) as cam:
            cam(input_tensor=pixels.clone().requires_grad_(), targets=None)

    return {
        EAGER: lambda: _eager(network, pixels),
        "eager PyTorch and pytorch-grad-cam": usual,
        "Vigil's Predictor": lambda: predictor.predict(picture),
        "Vigil's Predictor with Grad-CAM": lambda: predictor.predict(picture, "Grad-CAM"),
    }


def _eager(network: torch.nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return network(pixels)


def _onnx(checkpoint: Checkpoint) -> onnxruntime.InferenceSession:
    """The network in ONNX Runtime, without test-time augmentation, in as many threads as torch uses."""
    once = checkpoint.config.vigil.model_copy(update={"test_time_augmentation": "none"})
    config = checkpoint.config.model_copy(update={"vigil": once})
    alone = replace(checkpoint, config=config, finder=None, gate=None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        export.to_onnx(standalone.Standalone(alone).eval(), standalone.metadata(alone), Path(folder))
        return onnxruntime.InferenceSession(Path(folder) / "model.onnx", options)
