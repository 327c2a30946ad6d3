"""src/models/lesion_finder.py and train/training/segmentation.py: boxes against hand-computed ones, the U-Net
trained on made-up lesions, and a classifier of these lesions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import yaml
from PIL import Image

from src.models import checkpoints, lesion_finder
from src.models.config import LESION_FINDER_FILE, LesionFinderConfig
from src.models.lesion_finder import LesionFinder
from src.models.prediction import NOTHING_FOUND
from src.models.predictor import Predictor
from src.models.preprocess import Region, select_region
from src.pictures.picture import Box
from src.pictures.scanned_field import crop
from src.tasks import TASKS
from tests.support.short_evaluation import shorten
from train import __main__ as train_command
from train import evaluate
from train.data import load
from train.evaluation import views
from train.training import dataset, segmentation
from train.training import recipe as recipes

pytestmark = pytest.mark.slow

REGION: dict[str, Any] = {
    "task": "ultrasound",
    "name": "Tiny U-Net",
    "architecture": "vigil_lesion_unet",
    "sources": ["busi"],
    "image_size": 64,
    "epochs": 2,
    "batch_size": 8,
    "augmentation": "ultrasound-strong",
    "optimiser": {"lr": 3e-3, "backbone_lr": 1e-3, "warmup_epochs": 0.2},
}
CLASSIFIER: dict[str, Any] = {
    "task": "ultrasound",
    "name": "Tiny",
    "architecture": "vigil_cnn28",
    "sources": ["busi"],
    "channels": 1,
    "mean": [0.5],
    "std": [0.25],
    "image_size": 28,
    "epochs": 1,
    "batch_size": 8,
    "augmentation": "ultrasound-lesion",
    "loss": {"gamma": 2.0},
    "optimiser": {"lr": 1e-3, "warmup_epochs": 0.2},
    "lesion_crops": {},
}


def test_the_likeliest_patch_wins_and_specks_are_none() -> None:
    p = np.zeros((20, 30), dtype=np.float32)
    p[2:6, 3:9] = 0.6  # sums to 14.4
    p[10:14, 20:25] = 0.9  # sums to 18
    p[18, 28] = 1.0
    assert lesion_finder.lesion_extent(p, 0.5, 0.0) == (20, 10, 25, 14)
    assert lesion_finder.lesion_extent(p, 0.5, 0.05) is None, "20 of 600 pixels are less than 5%"
    assert lesion_finder.lesion_extent(p, 0.95, 0.0) == (28, 18, 29, 19)
    assert lesion_finder.lesion_extent(np.zeros((4, 4), dtype=np.float32), 0.5, 0.0) is None
    assert lesion_finder.mask_extent(np.zeros((4, 4), dtype=np.uint8)) is None


@pytest.mark.parametrize(
    ("lesion", "margin", "expected"),
    [
        ((40, 40, 60, 50), 0.25, (35, 30, 65, 60)),  # square, a quarter of 20 on each side
        ((0, 0, 20, 20), 0.25, (0, 0, 30, 30)),  # moved back into the picture
        ((90, 70, 100, 80), 0.5, (80, 60, 100, 80)),
        ((0, 10, 100, 60), 0.5, (0, 0, 100, 80)),  # larger than the picture: cut
    ],
)
def test_the_box_is_square_where_there_is_room(
    lesion: tuple[float, float, float, float], margin: float, expected: Box
) -> None:
    assert lesion_finder.with_margin(lesion, margin, (100, 80)) == expected


def unet() -> Any:
    return checkpoints.build("vigil_lesion_unet", 1, 3).eval()


def region(image: Image.Image, finder: LesionFinder | None = None) -> Region:
    task = TASKS["ultrasound"]
    return select_region(crop(image, task), task, 3, finder)


class Seeing(LesionFinder):
    """Finds whatever is bright."""

    def __init__(self) -> None:
        config = {"side": 64, "mean": 3 * [0.5], "std": 3 * [0.5], "threshold": 0.5, "smallest": 0.001, "margin": 0.25}
        named = {"architecture": "vigil_lesion_unet", "sha256": 64 * "0"}
        super().__init__(unet(), LesionFinderConfig.model_validate(config | named))

    def probabilities(self, image: Image.Image) -> np.ndarray:
        side = self.config.side
        return (np.asarray(image.convert("L").resize((side, side))) / 255).astype(np.float32)


def test_the_view_is_cropped_to_what_was_found_in_the_field() -> None:
    pixels = np.full((200, 300, 3), 60, dtype=np.uint8)
    pixels[:, :40] = 0  # a black margin, trimmed before the lesion is looked for
    pixels[80:120, 160:200] = 255
    picture = Image.fromarray(pixels)
    field = region(picture)
    assert field.kind == "field"
    assert field.box == pytest.approx((40, 0, 300, 200), abs=4)
    seen = region(picture, Seeing())
    assert seen.kind == "lesion"
    assert seen.box == pytest.approx((150, 70, 210, 130), abs=8)
    assert seen.image.size == (seen.box[2] - seen.box[0], seen.box[3] - seen.box[1])
    assert region(Image.new("RGB", (300, 200), (60, 60, 60)), Seeing()).kind == "field"


def test_the_unet_gives_a_logit_for_each_pixel() -> None:
    with torch.no_grad():
        assert unet()(torch.zeros(2, 3, 96, 64)).shape == (2, 1, 96, 64)


def test_dice_and_hits_by_hand() -> None:
    truth = np.zeros((3, 8, 8), dtype=bool)
    truth[0, 2:6, 2:6] = truth[1, 0:2, 0:2] = True
    p = np.zeros((3, 8, 8), dtype=np.float32)
    p[0, 2:6, 4:8] = 1  # half of 16 pixels in common: Dice 0.5, its middle on the lesion's edge
    p[1, 5:8, 5:8] = 1  # nothing in common
    assert segmentation.segmentation_metrics(p, truth, 0.5, 0.0) == {"dice": 0.25, "hit": 0.5, "empty": 1.0}
    p[2, 0, 0] = 1
    assert segmentation.segmentation_metrics(p, truth, 0.5, 0.0)["empty"] == 0.0


def test_training_crops_keep_the_lesion_in_sight() -> None:
    array = np.zeros((100, 160, 3), dtype=np.uint8)
    array[40:60, 70:100] = 255
    settings = recipes.LesionCrops(whole=0.0)
    crops = [dataset.lesion_crop(array, (70, 40, 100, 60), settings, seed) for seed in range(40)]
    assert len({crop.shape for crop in crops}) > 10
    assert all((crop > 0).any(axis=2).sum() > 0.6 * 20 * 30 for crop in crops)
    assert all(crop.shape[0] < 70 for crop in crops)
    whole = recipes.LesionCrops(whole=1.0)
    assert dataset.lesion_crop(array, None, whole, 0).shape == array.shape
    windows = [dataset.lesion_crop(array, None, settings, seed).shape for seed in range(40)]
    assert all(height == width < 95 for height, width, _ in windows)


def run(recipe: dict[str, Any], data: Path, out: Path, *more: str) -> int:
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(recipe))
    return train_command.main([str(file), "--data", str(data), "--out", str(out), "--workers", "0", *more])


def test_masks_lie_where_the_pictures_show_the_lesion(data: Path) -> None:
    samples = [s for s in load("ultrasound", data, ["busi"]) if s.masks][:6]
    arrays = dataset.load_arrays(samples, TASKS["ultrasound"], 3, 60)
    masks = dataset.load_masks(samples, TASKS["ultrasound"], arrays)
    for array, mask in zip(arrays, masks, strict=True):
        assert mask.shape == array.shape[:2]
        assert 0 < mask.mean() < 1


@pytest.fixture(scope="module")
def finder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("region") / "region"
    assert run(REGION, data, out) == 0
    return out


def test_the_unet_learns_and_loads(finder: Path) -> None:
    about = json.loads((finder / segmentation.DESCRIPTION).read_text())
    assert [row["epoch"] for row in about["history"]] == [1, 2]
    assert {"dice", "hit", "empty"} <= about["history"][0].keys()
    assert about["history"][1]["train_loss"] < about["history"][0]["train_loss"]
    loaded = segmentation.load(finder)
    values = loaded.probabilities(Image.new("RGB", (90, 70)))
    assert values.shape == (64, 64)
    assert ((values >= 0) & (values <= 1)).all()


def test_a_classifier_brings_its_finder_along(
    finder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.setattr(views, "PAIRS", 1)
    assert run(CLASSIFIER, data, tmp_path / "alone") == 1
    assert "--region" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run(CLASSIFIER, data, out, "--region", str(finder)) == 0
    checkpoint = checkpoints.load("ultrasound", out)
    assert checkpoint.finder is not None
    assert checkpoint.config.vigil.region == segmentation.load(finder).config
    prediction = Predictor(checkpoint).predict(load("ultrasound", data, ["busi"])[0].picture())
    assert (prediction.region == "lesion") != (NOTHING_FOUND in prediction.warnings)
    assert evaluate.main([str(out), "--data", str(data)]) == 0
    found = json.loads((out / "evaluation.json").read_text())["splits"]["test"]["region"]
    assert found["n"] > 0
    assert 0 <= found["dice"] <= 1
    card = (out / "README.md").read_text()
    assert f"Dice {found['dice']:.3f}" in card
    assert "| external, BUS-BRA (n = " in card, "a set it did not learn from stands beside the test split"
    assert "near-duplicate" in card
    (out / LESION_FINDER_FILE).write_bytes(b"something else")
    with pytest.raises(checkpoints.CheckpointError, match="sha256"):
        checkpoints.load("ultrasound", out)


def test_a_folder_without_a_finder_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(CLASSIFIER, data, tmp_path / "out", "--region", str(tmp_path)) == 1
    said = capsys.readouterr().err
    assert "region.json" in said
    assert "Traceback" not in said


def test_the_backbone_starts_from_a_file_of_timms_weights(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    theirs = timm.create_model("tf_efficientnetv2_b0", num_classes=3)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "b0.safetensors")
    recipe = recipes.RegionRecipe.model_validate(REGION)
    samples = load("ultrasound", data, ["busi"])
    job = segmentation.LesionSearch(recipe, samples, str(tmp_path / "b0.safetensors"), validates=False)
    own = job.network.backbone.state_dict()
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in own.items())
