"""train/evaluation/explanations.py: the measures of heat maps, on networks that are known to use certain pixels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from src.models import checkpoints
from src.models.prediction import HeatMap
from src.models.predictor import Predictor
from src.tasks import TASKS
from tests.support import synthetic_checkpoints, synthetic_datasets
from train.data import Sample, load
from train.evaluation import explanations, metrics

pytestmark = pytest.mark.slow

SIDE = 64


class Looks(nn.Module):
    """Metastatic where the part `where` (rows, columns; of SIDE pixels) is bright; four-fold pooling is its map."""

    def __init__(self, where: tuple[slice, slice]) -> None:
        super().__init__()
        self.unused = nn.Linear(1, 1)
        self.weights = torch.zeros(SIDE, SIDE)
        self.weights[where] = 1

    def get_classifier(self) -> nn.Module:
        return self.unused

    def forward_features(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x.mean(1, keepdim=True).expand(-1, 2, -1, -1) * self.weights, 4)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.forward_features(x), []

    def forward_head(self, features: Tensor) -> Tensor:
        return 400 * features.mean(dim=(1, 2, 3))[:, None] - 2

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def predictor(folder: Path, task: str, network: Any) -> Predictor:
    """A Predictor with this network in place of a checkpoint's."""
    synthetic_checkpoints.write(folder, task, "vigil_cnn28", input_size=[3, 28, 28])
    checkpoint = checkpoints.load(task, folder)
    shape = checkpoint.config.pretrained_cfg.model_copy(update={"input_size": (3, SIDE, SIDE)})
    config = checkpoint.config.model_copy(update={"pretrained_cfg": shape})
    return Predictor(replace(checkpoint, config=config, network=network.eval()))


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 50)


def tiles(folder: Path, where: tuple[slice, slice], count: int = 8) -> list[Sample]:
    """Noise with one bright patch at `where`."""
    rng, samples = np.random.default_rng(0), []
    for number in range(count):
        pixels = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[where] += 150
        synthetic_datasets.save(folder / f"{number}.png", pixels)
        samples.append(
            Sample(str(number), number % 2, f"slide {number // 2}", "test", "pcam", folder / f"{number}.png")
        )
    return samples


CENTRE, CORNER = (slice(24, 40), slice(24, 40)), (slice(0, 16), slice(0, 16))


@pytest.mark.parametrize(("where", "central"), [(CENTRE, True), (CORNER, False)])
def test_a_map_that_shows_what_decides_is_found_faithful_and_located(
    where: tuple[slice, slice], central: bool, tmp_path: Path
) -> None:
    made = predictor(tmp_path / "model", "histopathology", Looks(where))
    found = explanations.evaluate_heat_maps(made, tiles(tmp_path, where), 0.3)
    assert (found["n"], found["groups"]) == (8, 4)
    faith = found["faithfulness"]["maps"]["Grad-CAM"]
    # The bright patch is a sixteenth of the tile: without it, nothing argues for metastasis.
    assert faith["drop"]["value"] > 0.3
    assert faith["above_random"]["value"] == pytest.approx(faith["drop"]["value"] - faith["random"]["value"])
    assert faith["above_random"]["interval"][0] > 0.1
    location = found["location"]
    assert (location["part"], location["measure"], location["code"]) == ("label box", "mass", "metastatic")
    maps = location["maps"]["Grad-CAM"]
    assert maps["right"]["n"] == maps["wrong"]["n"] == 4, "all are called metastatic and half of them are"
    for answer in maps.values():
        # 21 or 22 of 64 pixels have their middles in the middle third
        assert answer["chance"] == pytest.approx(1 / 9, abs=0.01)
        assert (answer["inside"]["value"] > 0.6) == central
        assert answer["inside"]["interval"][0] <= answer["inside"]["value"] <= answer["inside"]["interval"][1]
    again = explanations.evaluate_heat_maps(made, tiles(tmp_path, where), 0.3)
    assert again == found, "the same every time"


def test_a_map_of_somewhere_else_is_found_no_better_than_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = predictor(tmp_path / "model", "histopathology", Looks(CENTRE))
    elsewhere = np.zeros((SIDE, SIDE), dtype=np.float32)
    elsewhere[CORNER] = 1
    monkeypatch.setattr(
        Predictor, "heat_map", lambda *_, **__: HeatMap("Grad-CAM", "metastatic", elsewhere, (0, 0, SIDE, SIDE))
    )
    found = explanations.evaluate_heat_maps(made, tiles(tmp_path, CENTRE), 0.3)
    faith = found["faithfulness"]["maps"]["Grad-CAM"]
    assert faith["drop"]["value"] < 0.1
    assert faith["above_random"]["interval"][0] <= 0
    assert found["location"]["maps"]["Grad-CAM"]["right"]["inside"]["value"] == 0


@pytest.mark.parametrize(("spot", "hit"), [((24, 26), True), ((5, 5), False)])
def test_a_peak_is_in_the_drawn_lesion_or_not(
    spot: tuple[int, int], hit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic_datasets.busbra(tmp_path / "busbra", cases=6)
    samples = load("ultrasound", tmp_path, ["busbra"])
    made = predictor(tmp_path / "model", "ultrasound", Looks3())
    values = np.zeros((64, 80), dtype=np.float32)  # the picture's own size: its mask is rows 16 to 32, columns 20 to 40
    values[spot] = 1
    monkeypatch.setattr(
        Predictor, "heat_map", lambda *_, **__: HeatMap("Grad-CAM", "malignant", values, (0, 0, 80, 64))
    )
    monkeypatch.setattr(explanations, "FAITHFULNESS_IMAGES", 1)
    monkeypatch.setattr(explanations, "probability_falls", lambda *_: np.zeros((2, 2)))
    location = explanations.evaluate_heat_maps(made, samples, 0.3)["location"]
    assert (location["part"], location["measure"], location["code"]) == ("lesion", "peak", "malignant")
    found = list(location["maps"]["Grad-CAM"].values())
    assert sum(answer["n"] for answer in found) == len(samples)
    for answer in found:
        assert answer["inside"]["value"] in (None, float(hit))
        assert answer["chance"] in (None, pytest.approx(16 * 20 / (64 * 80)))
        # Of all of few pictures nobody knows that it is always so.
        assert answer["n"] == 0 or answer["inside"]["interval"][1] - answer["inside"]["interval"][0] > 0.1


class Looks3(Looks):
    """As above with three classes."""

    def __init__(self) -> None:
        super().__init__(CENTRE)

    def forward_head(self, features: Tensor) -> Tensor:
        logit = super().forward_head(features)
        return torch.cat([-logit, logit, 0 * logit - 9], dim=1)


def test_an_empty_map_has_no_peak_and_takes_out_as_much_as_any() -> None:
    nothing = np.zeros((20, 20), dtype=np.float32)
    inside = np.zeros((20, 20), dtype=bool)
    inside[:5] = True
    assert explanations.share_inside("lesion", nothing, inside) == (None, 0.25)
    # Where several pixels share the peak, the share of them that is inside.
    several = nothing.copy()
    several[3:9, 4] = 1
    assert explanations.share_inside("lesion", several, inside) == (2 / 6, 0.25)
    half = nothing.copy()
    half[10:] = 0.5
    assert explanations.share_inside("label box", half, inside) == (0.0, 0.25)
    for values in (nothing, half):
        order = explanations.ranks(values, np.random.default_rng(0))
        assert np.unique(order).size == order.size
        assert (order >= np.percentile(order, 90)).sum() == 40
        assert order[values == values.max()].min() >= (values < values.max()).mean()


def test_the_label_box_of_a_tile_whose_middle_alone_was_seen() -> None:
    heat = HeatMap("Grad-CAM", "metastatic", np.zeros((48, 48), dtype=np.float32), (32, 0, 128, 96))
    sample = Sample("", 0, "", "test", "pcam", Path())
    inside = explanations.inside_mask(TASKS["histopathology"], sample, Image.new("RGB", (160, 96)), heat)
    rows, columns = np.nonzero(inside)
    # 160 px wide: its middle third runs from 53.3 to 106.7, of the part seen from 21.3 to 74.7 of 96
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 31, 11, 36)
