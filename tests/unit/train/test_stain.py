"""train/evaluation/stain.py: what changed stains cost, on networks that are known to look at colour or at shape."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from src.models import checkpoints
from src.models.predictor import Predictor
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from train.data import Sample
from train.evaluation import metrics, stain

NUCLEI, GLAND = (70, 40, 120), (225, 150, 190)


def tile(nuclei: int, seed: int) -> Image.Image:
    """A drawn tile of pink tissue with dark violet squares."""
    rng = np.random.default_rng(seed)
    pixels = np.full((96, 96, 3), GLAND, dtype=np.int16) + rng.integers(-8, 9, (96, 96, 1))
    for row, column in rng.integers(0, 88, (nuclei, 2)).tolist():
        pixels[row : row + 8, column : column + 8] = np.array(NUCLEI) + rng.integers(-8, 9)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


class Hue(nn.Module):
    """Metastatic where blue outweighs red: it looks at the stain alone."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def get_classifier(self) -> nn.Module:
        return self.unused

    def forward_features(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x[:, 2:] - x[:, :1], 4)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.forward_features(x), []

    def forward_head(self, features: Tensor) -> Tensor:
        return 10 * features.mean(dim=(1, 2, 3))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for i in range(24):
        file = tmp_path / f"{i}.png"
        tile(nuclei=40 + 20 * (i % 2), seed=i).save(file)
        found.append(Sample(f"{i}", i % 2, f"g{i // 2}", "test", "pcam", file))
    return found


@pytest.mark.parametrize("name", stain.CHANGES)
def test_a_stain_changes_colours_and_not_the_tissue(name: str) -> None:
    image = tile(40, 0)
    first, again, other = (stain.stained(image, stain.CHANGES[name], seed) for seed in (0, 0, 1))
    assert (first.size, first.mode) == (image.size, "RGB")
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    before, after = (np.asarray(one, dtype=float).mean((0, 1)) for one in (image, first))
    assert np.abs(before - after).max() > 3
    dark = np.asarray(image.convert("L")) < 100
    shade = np.asarray(first.convert("L"), dtype=float)
    assert shade[dark].mean() < shade[~dark].mean(), "nuclei stay darker than what is around them"


@pytest.mark.parametrize("name", stain.CHANGES)
@pytest.mark.parametrize("grey", [255, 250, 0])
def test_an_image_without_tissue_keeps_its_colour(name: str, grey: int) -> None:
    image = Image.new("RGB", (96, 96), (grey, grey, grey))
    changed = stain.stained(image, stain.CHANGES[name], 0)
    assert changed.size == image.size
    assert grey == 0 or np.abs(np.asarray(changed, dtype=int) - grey).max() <= 4


def test_what_a_change_loses_is_the_fall_of_the_auc(monkeypatch: pytest.MonkeyPatch, samples: list[Sample]) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    task = TASKS["histopathology"]
    scores = np.array([0.2, 0.8] * 12)
    swapped = scores.copy()
    swapped[:2] = 0.8, 0.2
    found = stain.compare(task, samples, scores, swapped)
    expected = metrics.auc(metrics.is_malignant(task, np.array([0, 1] * 12)), swapped)
    assert expected < 1
    assert found["auc_malignant"]["value"] == expected
    assert found["lost"]["value"] == pytest.approx(1 - expected)
    low, high = found["lost"]["interval"]
    assert low <= found["lost"]["value"] <= high
    assert stain.compare(task, samples, scores, scores)["lost"] == {"value": 0, "interval": [0, 0]}


@pytest.mark.slow
def test_a_network_of_the_stain_alone_loses_and_other_tasks_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, samples: list[Sample]
) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 20)
    checkpoint = checkpoints.load("histopathology", synthetic_checkpoints.write(tmp_path / "net", "histopathology"))
    network: Any = Hue().eval()
    predictor = Predictor(replace(checkpoint, network=network))
    scores = np.array([predictor.predict(sample.picture()).p_malignant for sample in samples])
    found = stain.measure(predictor, samples, scores)
    assert found is not None
    assert found.keys() == stain.CHANGES.keys()
    assert metrics.auc(np.array([0, 1] * 12) == 1, scores) > 0.95, "more nuclei, more blue"
    assert all(change["lost"]["value"] > 0.05 for change in found.values())
    skin = Predictor(checkpoints.load("skin", synthetic_checkpoints.write(tmp_path / "skin", "skin")))
    assert stain.measure(skin, samples, scores) is None
