"""What the page's viewer gets of a slide."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.phantoms import slide
from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused
from src.service import read_slide
from src.service.model_loading import Models
from src.slides import files, library, run
from src.slides.run import Options
from tests.support import slide_files, synthetic_checkpoints


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "histopathology")
    return {"histopathology": Predictor(checkpoints.load("histopathology", folder))}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Coloured squares on glass: 1500 × 1100 pixels."""
    found = np.full((1100, 1500, 3), 243, np.uint8)
    squares = np.random.default_rng(0).integers(60, 200, (8, 10, 3), dtype=np.uint8)
    found[100:900, 200:1200] = squares.repeat(100, axis=0).repeat(100, axis=1)
    return found


@pytest.fixture(scope="module")
def folder(pixels: np.ndarray, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's folder with one slide and its scores."""
    made = tmp_path_factory.mktemp("slides")
    file = slide_files.write(made / "node.tif", pixels, 0.5, (1, 4), compression=None)
    run.run(file, made / library.SCORES / "node.tif", models["histopathology"], Options(0.3, 96))
    (made / "notes.txt").write_text("no slide")
    return made


def test_the_viewer_gets_every_score_at_its_place(folder: Path, models: Models) -> None:
    scores = folder / library.SCORES / "node.tif"
    viewed = read_slide.view(models, str(folder / "node.tif"), str(scores))
    assert (viewed.width, viewed.height, viewed.mpp) == (1500, 1100, 0.5)
    levels = np.frombuffer(base64.b64decode(viewed.scores), np.uint8).reshape(viewed.rows, viewed.columns)
    tiles = list(files.read_tiles(scores, ("x", "y", "width", "p_malignant")))
    assert (levels != 255).sum() == len(tiles) == viewed.report.tiles  # type: ignore[union-attr]
    for x, y, width, p_malignant in tiles:
        level = levels[int((y + width / 2) / viewed.cell), int((x + width / 2) / viewed.cell)]
        assert level == round(p_malignant * 254)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_tiles_of_the_viewer_make_up_the_slide(
    scale: int, folder: Path, models: Models, pixels: np.ndarray
) -> None:
    whole = Image.new("RGB", (-(-1500 // scale), -(-1100 // scale)))
    for row in range(-(-whole.height // read_slide.TILE)):
        for column in range(-(-whole.width // read_slide.TILE)):
            data = read_slide.zoom_tile(models, str(folder / "node.tif"), scale, column, row)
            whole.paste(Image.open(io.BytesIO(data)), (column * read_slide.TILE, row * read_slide.TILE))
    small = np.asarray(Image.fromarray(pixels).resize(whole.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(whole).astype(int) - small).mean() < 4  # JPEG halves the colours of the squares


@pytest.mark.parametrize("place", [(1, 3, 0), (1, 0, 3), (2, 2, 0), (4096, 0, 0)])
def test_a_tile_that_is_not_there_is_refused(place: tuple[int, int, int], folder: Path, models: Models) -> None:
    with pytest.raises(ImageRefused):
        read_slide.zoom_tile(models, str(folder / "node.tif"), *place)


def test_a_click_is_answered_as_the_tile_itself(folder: Path, models: Models, pixels: np.ndarray) -> None:
    answer = read_slide.tile_at(models, str(folder / "node.tif"), 700.0, 500.0)
    assert answer.x < 700 < answer.x + answer.side
    crop = pixels[answer.y : answer.y + answer.side, answer.x : answer.x + answer.side]
    alone = models["histopathology"].predict(
        read_slide.Picture(Image.fromarray(crop).resize((96, 96), Image.Resampling.BICUBIC), ())
    )
    assert answer.p_malignant == pytest.approx(alone.p_malignant, abs=0.05)
    assert Image.open(io.BytesIO(base64.b64decode(answer.heatmap))).size == (288, 288)
    with pytest.raises(ImageRefused):
        read_slide.tile_at(models, str(folder / "node.tif"), -5.0, float("nan"))


def test_slides_without_scores_or_pyramid_and_with_scores_of_another(
    folder: Path, models: Models, pixels: np.ndarray, tmp_path: Path
) -> None:
    plain = read_slide.view(models, str(folder / "node.tif"), str(tmp_path))
    assert plain.report is None
    changed = slide_files.write(tmp_path / "node.tif", pixels[:1000], 0.5, (1, 4), compression=None)
    with pytest.raises(ImageRefused, match="scores"):
        read_slide.view(models, str(changed), str(folder / library.SCORES / "node.tif"))
    flat = slide_files.write(tmp_path / "flat.tif", np.full((300, 9000, 3), 200, np.uint8), 0.5)
    with pytest.raises(ImageRefused, match="smaller levels"):
        read_slide.view(models, str(flat), str(tmp_path))


def test_the_library_offers_examples_and_the_operators_slides_under_new_ids(folder: Path) -> None:
    first, second = library.offered(folder), library.offered(folder)
    assert [one.name for one in first.values()] == ["Drawn example: drawn_node.tif", "node.tif"]
    assert not first.keys() & second.keys()
    assert all(len(key) >= 20 for key in first)


def test_the_example_has_scores_of_the_embedded_model(models: Models) -> None:
    (example,) = library.offered(None).values()
    viewed = read_slide.view(models, str(example.file), str(example.scores))
    assert viewed.report is not None
    assert viewed.report.revision == checkpoints.find("histopathology").revision
    assert viewed.mpp == pytest.approx(2 * slide.FINE_MPP)
    assert viewed.report.spots[0].p_malignant > 0.9
