"""What all phantoms are made of: noise, outlines, mosaics, strokes, and light through absorbing layers.

Knows nothing of skin, breast or tissue. Fields are float64 arrays of one value a pixel, indexed (row, column); lengths
are in pixels. Every random number comes from the caller's generator, so the same seed gives the same picture.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import fft
from scipy.ndimage import fourier_gaussian
from scipy.spatial import cKDTree

Field = NDArray[np.float64]
Size = tuple[int, int]


def noise(rng: np.random.Generator, size: Size, scale: float | tuple[float, float]) -> Field:
    """Gaussian noise, mean 0 and variance 1, smoothed by a Gaussian of standard deviation `scale`; its edges wrap."""
    spectrum = fft.rfft2(rng.standard_normal(size))
    field = fft.irfft2(fourier_gaussian(spectrum, scale, n=size[1]), s=size)
    return (field - field.mean()) / field.std()


def clouds(rng: np.random.Generator, size: Size, scale: float, octaves: int = 4) -> Field:
    """Noise of several scales, each half as long and 0.6 times as strong as the one before; variance 1."""
    field = sum((0.6**i * noise(rng, size, scale / 2**i) for i in range(octaves)), np.zeros(size))
    return field / field.std()


def step(field: Field, softness: float) -> Field:
    """0 where `field` is well below zero, 1 where well above, with a smooth edge about four `softness` wide."""
    return 0.5 + 0.5 * np.tanh(field / (2 * softness))


def grid(size: Size) -> tuple[Field, Field]:
    """The row and the column of every pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    return rows, columns


def outline(
    rng: np.random.Generator,
    size: Size,
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    angle: float = 0.0,
    wobble: float = 0.0,
    harmonics: int = 6,
) -> Field:
    """How far each pixel is out, as a fraction of a wobbly ellipse's radius there: below 1 is inside.

    `radii` are along the columns and the rows before the turn by `angle` (radians); `wobble` is the standard deviation
    of the relative radius, spread over 2 to `harmonics` lobes with the wider lobes stronger.
    """
    rows, columns = grid(size)
    y, x = rows - centre[0], columns - centre[1]
    u = (x * np.cos(angle) + y * np.sin(angle)) / radii[0]
    v = (y * np.cos(angle) - x * np.sin(angle)) / radii[1]
    theta = np.arctan2(v, u)
    lobes = np.arange(2, harmonics + 1)
    weights = rng.standard_normal(lobes.size) / lobes
    weights *= wobble * np.sqrt(2) / max(float(np.linalg.norm(weights)), 1e-9)
    phases = rng.uniform(0, 2 * np.pi, lobes.size)
    edge = 1 + sum((w * np.cos(k * theta + p) for k, w, p in zip(lobes, weights, phases, strict=True)), np.zeros(size))
    return np.hypot(u, v) / np.maximum(edge, 0.2)


def scattered(rng: np.random.Generator, size: Size, spacing: float, jitter: float = 0.28) -> Field:
    """Points (n, 2) on a hexagonal grid `spacing` apart, each moved by `jitter` spacings; some lie just outside."""
    rows = np.arange(-2 * spacing, size[0] + 2 * spacing, spacing * np.sqrt(3) / 2)
    columns = np.arange(-2 * spacing, size[1] + 2 * spacing, spacing)
    points = np.array([(r, c + (i % 2) * spacing / 2) for i, r in enumerate(rows) for c in columns])
    return points + rng.normal(0, jitter * spacing, points.shape)


def mosaic(points: Field, size: Size, warp: Field | None = None) -> tuple[Field, Field, NDArray[np.intp]]:
    """Voronoi cells of `points`: the distance to the nearest point, how much farther the second one is (0 on the
    border between two cells), and the nearest point's index. `warp` (2, rows, columns) bends the borders."""
    where = np.stack(grid(size), -1)
    if warp is not None:
        where = where + np.moveaxis(warp, 0, -1)
    distance, index = cKDTree(points).query(where, k=2)
    return distance[..., 0], distance[..., 1] - distance[..., 0], index[..., 0]


def strokes(size: Size, paths: Iterable[tuple[Field, float]]) -> Field:
    """Coverage, 0 to 1, of polylines: each a (n, 2) array of (row, column) with the width at its root; they taper."""
    fine = 4  # drawn four times as large and reduced, for smooth edges
    canvas = Image.new("L", (size[1] * fine, size[0] * fine))
    draw = ImageDraw.Draw(canvas)
    for path, width in paths:
        for i in range(len(path) - 1):
            radius = fine * width * (1 - 0.6 * i / len(path)) / 2
            (r0, c0), (r1, c1) = path[i] * fine, path[i + 1] * fine
            draw.line((c0, r0, c1, r1), fill=255, width=max(1, round(2 * radius)))
            draw.ellipse((c1 - radius, r1 - radius, c1 + radius, r1 + radius), fill=255)
    return np.asarray(canvas.reduce(fine), dtype=float) / 255


def wander(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float, bend: float, pace: float = 3.0
) -> Field:
    """A smooth path (n, 2) of `length` from `start`; from end to end its heading (radians, 0 to the right) turns by
    about `bend`, half of it steadily."""
    count = max(4, int(length / pace))
    drift = rng.normal() * np.linspace(0, 1, count) + np.cumsum(rng.standard_normal(count)) / np.sqrt(count)
    headings = heading + bend * drift / np.sqrt(2)
    steps = pace * np.stack([np.sin(headings), np.cos(headings)], -1)
    return np.vstack([np.array(start), np.array(start) + np.cumsum(steps, 0)])


def through(light: Field, layers: Sequence[tuple[Field, Sequence[float]]]) -> Field:
    """Light (…, 3) after the layers, by Beer and Lambert: each an amount per pixel and its absorbance in R, G and B."""
    absorbance = sum((amount[..., None] * np.array(colour) for amount, colour in layers), np.zeros((1, 1, 3)))
    return light * 10.0**-absorbance


def mix(image: Field, colour: Sequence[float], share: Field) -> Field:
    """`image` (rows, columns, 3) with `share` (0 to 1 per pixel) of a flat colour laid over it."""
    return image + np.clip(share, 0, 1)[..., None] * (np.array(colour) - image)


def to_bytes(image: Field) -> NDArray[np.uint8]:
    """0 to 1 as 0 to 255, rounded and clipped."""
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
