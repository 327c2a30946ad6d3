"""The examples: complete, drawn by this code, and built like their kind of image."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.draw import EXAMPLES, Example
from examples.phantoms import histopathology, texture, ultrasound
from src.tasks import TASKS

FOLDER = Path(__file__).parents[2] / "examples"
SIZES = {"skin": (600, 450), "ultrasound": (560, 460), "breastmnist": (28, 28), "histopathology": (96, 96)}
# Grey levels. Processors and builds of numpy round apart by one here and there; versions of libjpeg by a few.
MEAN_DIFFERENCE = {".png": 0.05, ".jpg": 3.0}


def test_list_and_files_agree() -> None:
    captions = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
    assert captions == {example.path: example.caption for example in EXAMPLES}
    files = {path.relative_to(FOLDER).as_posix() for task in TASKS for path in (FOLDER / task).iterdir()}
    assert files == set(captions)


def test_every_task_has_examples_and_says_they_are_synthetic() -> None:
    assert {example.path.split("/")[0] for example in EXAMPLES} == set(TASKS) == set(SIZES)
    assert all(example.caption.startswith("synthetic: ") for example in EXAMPLES)
    assert len({example.caption for example in EXAMPLES}) == len(EXAMPLES)


def test_pictures_stay_small() -> None:
    assert sum((FOLDER / example.path).stat().st_size for example in EXAMPLES) < 700_000


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path)
def test_committed_picture_is_what_the_script_draws(example: Example) -> None:
    task = example.path.split("/")[0]
    with Image.open(FOLDER / example.path) as committed:
        assert committed.size == SIZES[task]
        assert committed.mode == ("L" if TASKS[task].colour == "grey" else "RGB")
        assert not committed.getexif()
        seen = np.asarray(committed, dtype=int)
    difference = np.abs(seen - np.asarray(example.image(), dtype=int))
    assert difference.mean() < MEAN_DIFFERENCE[Path(example.path).suffix]


def test_same_seed_same_picture_and_another_seed_another() -> None:
    first, again, other = (histopathology.lymphocytes(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_has_unit_variance_and_the_length_asked_for() -> None:
    field = texture.noise(np.random.default_rng(0), (256, 300), 5)
    assert field.mean() == pytest.approx(0, abs=1e-9)
    assert field.std() == pytest.approx(1)
    # White noise through a Gaussian of deviation s has the autocorrelation exp(-d²/4s²).
    assert (field * np.roll(field, 5, axis=1)).mean() == pytest.approx(np.exp(-0.25), abs=0.04)


def test_speckle_is_fully_developed() -> None:
    echo = ultrasound.speckle(np.random.default_rng(0), (460, 560))
    envelope = np.abs(echo)
    assert (envelope**2).mean() == pytest.approx(1, abs=0.03)
    # Rayleigh: mean over standard deviation is sqrt(pi / (4 - pi)) = 1.91, whatever the beam's width.
    for rows in (slice(0, 120), slice(140, 260), slice(340, 460)):
        assert envelope[rows].mean() / envelope[rows].std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)


def test_beam_is_narrowest_at_the_focus() -> None:
    echo = ultrasound.speckle(np.random.default_rng(0), (460, 560))
    likeness = (echo * np.conj(np.roll(echo, 4, axis=1))).real.mean(1)
    assert likeness[ultrasound.FOCUS - 30 : ultrasound.FOCUS + 30].mean() < likeness[-60:].mean() - 0.1


def _grey(name: str) -> np.ndarray:
    with Image.open(FOLDER / "ultrasound" / name) as image:
        return np.asarray(image, dtype=float)


def test_shadow_and_enhancement_lie_behind_the_masses() -> None:
    behind, beside = (slice(275, 310), slice(265, 295)), (slice(275, 310), slice(60, 160))
    assert _grey("spiculated.jpg")[behind].mean() < 0.5 * _grey("spiculated.jpg")[beside].mean()
    assert _grey("oval.jpg")[behind].mean() > 1.15 * _grey("oval.jpg")[beside].mean()
    assert _grey("cyst.jpg")[180:210, 285:315].mean() < 16


def test_thumbnail_is_the_central_square_reduced() -> None:
    picture = np.zeros((460, 560), np.uint8)
    picture[:, :50] = picture[:, 510:] = 255
    picture[:230, 50:510] = 100
    small = ultrasound.thumbnail(picture)
    assert small.shape == (28, 28)
    assert set(np.unique(small[:13])) == {100}
    assert set(np.unique(small[15:])) == {0}


def test_tiles_have_the_two_stains_and_nothing_else() -> None:
    """Unmixed by least squares, a tile's absorbance is a non-negative sum of haematoxylin and eosin."""
    stains = np.array([histopathology.HAEMATOXYLIN, histopathology.EOSIN])
    means = {}
    for name in ("lymphocytes", "fat_and_stroma", "nest", "glands"):
        with Image.open(FOLDER / "histopathology" / f"{name}.png") as image:
            light = np.asarray(image.resize((24, 24), Image.Resampling.BOX), dtype=float).reshape(-1, 3) / 255
        absorbance = -np.log10(np.clip(light / histopathology.GLASS, 1e-3, 1))
        amounts, *_ = np.linalg.lstsq(stains.T, absorbance.T, rcond=None)
        residual = absorbance - amounts.T @ stains
        assert np.sqrt((residual**2).mean()) < 0.03
        assert (amounts > -0.08).mean() > 0.97
        means[name] = amounts.mean(1)
    assert means["lymphocytes"][0] > 1.3 * means["nest"][0] > 1.3 * means["fat_and_stroma"][0]
    assert means["nest"][1] > means["lymphocytes"][1]


def test_light_through_layers_follows_beer_and_lambert() -> None:
    once = texture.through(np.ones(3), [(np.full((1, 1), 0.4), (0.5, 1.0, 0.0))])
    twice = texture.through(np.ones(3), [(np.full((1, 1), 0.8), (0.5, 1.0, 0.0))])
    assert once[0, 0] == pytest.approx([10**-0.2, 10**-0.4, 1])
    assert twice == pytest.approx(once**2)
