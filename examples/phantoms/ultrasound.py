"""Breast-ultrasound-like drawings: random scatterers, a point spread function, attenuation, log compression.

Fully developed speckle is the envelope of circular complex Gaussian scatterers smoothed by the scanner's point spread
function (Wagner et al. 1983, doi:10.1109/T-SU.1983.31404). A phantom is two maps: how strongly each point echoes and
how much it attenuates what lies below; shadow and enhancement follow from the second and are not painted. Knows nothing
of files, captions or classes. Each phantom takes a generator and returns a (460, 560) uint8 picture, depth downwards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from examples.phantoms.texture import Field, clouds, grid, mosaic, noise, outline, scattered, step, to_bytes

SIZE = (460, 560)
FOCUS = 200  # the row where the beam is narrowest
LOOKS = 3  # frames averaged, as a scanner's spatial compounding does
DYNAMIC_RANGE = 62.0  # dB between black and white


@dataclass
class Tissue:
    """What the beam meets, all (460, 560): `echo` (dB), `loss` (dB a pixel beyond what the scanner's gain makes up
    for), and `mirror`, the dB of smooth interfaces that reflect without speckle (very low where there are none)."""

    echo: Field
    loss: Field
    mirror: Field


def oval_mass(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth, oval, wider than tall, evenly dark, with a thin bright capsule and enhancement behind."""
    return _scan(rng, _with_oval(rng, _breast(rng), centre=(205, 285), radii=(98, 54), echo=-28.0, loss=-0.068))


def cyst(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Round, without any echo inside, with a bright back wall, strong enhancement behind and shadows at its edges."""
    tissue = _with_oval(rng, _breast(rng), centre=(195, 300), radii=(66, 50), echo=-60.0, loss=-0.085)
    return _scan(rng, tissue)


def spiculated_mass(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Taller than wide, dark, with angular margins, spicules, a bright blurred halo and a shadow behind."""
    tissue = _breast(rng)
    centre = (205.0, 280.0)
    out = outline(rng, SIZE, centre, (60, 80), angle=0.12, wobble=0.10, harmonics=9) + 0.07 * clouds(rng, SIZE, 14)
    rows, columns = grid(SIZE)
    theta = np.arctan2(rows - centre[0], columns - centre[1])
    spicules = np.zeros(SIZE)
    for angle in np.linspace(0, 2 * np.pi, 17, endpoint=False) + rng.normal(0, 0.13, 17):
        turn = np.angle(np.exp(1j * (theta - angle - 0.14 * noise(rng, SIZE, 22))))
        taper = np.clip(1 - (out - 0.95) / rng.uniform(0.2, 0.8), 0, 1)
        spicules = np.maximum(spicules, np.exp(-((turn * 70 / (6 * taper + 0.1)) ** 2)) * taper**0.5)
    inside = np.maximum(step(1 - out, 0.055), 0.8 * spicules * step(out - 0.8, 0.05))
    radial = noise(rng, SIZE, 3) * 0.5 + np.sin(23 * theta + 3 * noise(rng, SIZE, 25))
    halo = np.exp(-(((out - 1.3) / 0.25) ** 2)) * step(clouds(rng, SIZE, 40) + 0.4, 0.4)
    tissue.mirror = tissue.mirror - 60 * step(1.3 - out, 0.05)
    tissue.echo = tissue.echo + halo * (3.5 + 2.5 * radial)
    tissue.echo = (1 - inside) * tissue.echo + inside * (-31 + 3 * clouds(rng, SIZE, 14))
    tissue.loss = tissue.loss + (0.15 + 0.03 * noise(rng, SIZE, (60, 14))) * step(1 - out, 0.12)
    return _scan(rng, tissue)


def no_mass(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Skin, fat lobules, fibroglandular tissue and muscle in layers, without a mass."""
    return _scan(rng, _breast(rng))


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as BreastMNIST shows it: the central square, reduced to 28×28 with bilinear weights."""
    height, width = picture.shape
    left = (width - height) // 2
    square = Image.fromarray(picture).crop((left, 0, left + height, height))
    return np.asarray(square.resize((28, 28), Image.Resampling.BILINEAR))


def speckle(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> NDArray[np.complex128]:
    """The complex echo of even tissue with unit mean power; its envelope is Rayleigh distributed.

    The beam is narrowest in the row `FOCUS` and widens above and below it.
    """
    echo = rng.standard_normal(size) + 1j * rng.standard_normal(size)
    return _point_spread(echo) / np.sqrt(2)


def _point_spread(echo: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Blur along the beam and, by depth, across it; white noise keeps its power."""
    axial = 1.3
    blurred = np.empty_like(echo)
    for row in range(len(echo)):
        lateral = 2.2 + 1.6 * (abs(row - FOCUS) / 260) ** 1.4
        gain = np.sqrt(2 * lateral * np.sqrt(np.pi))
        blurred[row] = gain * gaussian_filter1d(echo[row], lateral, mode="wrap")
    return np.sqrt(2 * axial * np.sqrt(np.pi)) * gaussian_filter1d(blurred, axial, axis=0, mode="wrap")


def _surface(rng: np.random.Generator, depth: float, swing: float) -> Field:
    """The depth of an interface for every column: smooth, about `depth`, rising and falling by `swing`."""
    return depth + swing * noise(rng, (1, SIZE[1]), (0, 70))[0] + 0.12 * swing * noise(rng, (1, SIZE[1]), (0, 14))[0]


def _breast(rng: np.random.Generator) -> Tissue:
    """Skin, subcutaneous fat in lobules between ligaments, fibroglandular tissue, fat, muscle, and what is below it."""
    rows = grid(SIZE)[0]
    skin, gland = _surface(rng, 26, 1.5), _surface(rng, 108, 13)
    back, muscle, chest = _surface(rng, 290, 12), _surface(rng, 322, 8), _surface(rng, 388, 9)

    def below(surface: Field, softness: float = 1.5) -> Field:
        return step(rows - surface, softness)

    tilt = 16 * noise(rng, SIZE, (60, 110)) + 4 * noise(rng, SIZE, (12, 25))
    lobules = scattered(rng, (SIZE[0] * 3, SIZE[1]), 120, jitter=0.25)
    _, border, _ = mosaic(lobules, SIZE, np.stack([2 * rows + 2.4 * tilt, 2 * tilt]))  # three times as wide as tall
    patchy = step(clouds(rng, SIZE, 30) - 0.1, 0.25)
    septa = np.exp(-((border / 4) ** 2)) * patchy
    streaks = 0.75 * _layered(rng, (2.2, 20), tilt) + 0.65 * _layered(rng, (4.5, 34), 1.6 * tilt)
    ducts = np.clip(_layered(rng, (6, 22), tilt) - 0.7, 0, None)
    fibres = _layered(rng, (2, 70), 0.35 * tilt)

    fat = -21 + 1.5 * noise(rng, SIZE, 20) + 1.8 * streaks + 7 * septa
    glandular = -12 + 3.4 * streaks + 3.0 * clouds(rng, SIZE, 50) - 6 * ducts
    pectoral = -23 + 3.6 * fibres + 1.5 * clouds(rng, SIZE, 40)
    echo = np.where(rows < skin, -13.0, fat)
    echo = echo + below(gland, 5) * (glandular - fat) * (1 - below(back, 9))
    echo = echo + below(muscle, 2) * (pectoral - fat) + below(chest, 2) * (-10 - 1.5 * fibres)

    mirror = np.full(SIZE, -60.0)
    for surface, level, thickness in (
        (np.full(SIZE[1], 4.0), -1, 1.5),
        (skin, -11, 1.2),
        (gland, -15, 1.4),
        (muscle, -12, 1.2),
        (muscle + 7 + 0.1 * (gland - 108), -16, 1.0),
        (chest, -10, 1.8),
    ):
        line = level + 5.5 * noise(rng, SIZE, (400, 24)) + 2.5 * noise(rng, SIZE, (400, 7))
        mirror = np.maximum(mirror, line - ((rows - surface) / thickness) ** 2 * 4)
    ligaments = -24 + 10 * patchy - (border / 2.2) ** 2 * 4
    mirror = np.maximum(mirror, np.where((rows > skin) & (below(gland) < 0.5), ligaments, -60))
    strands = -12 + 7 * (streaks - 2.0) - 12 * (1 - patchy)
    sheets = -13 + 6 * (fibres - 1.6)
    mirror = np.maximum(mirror, np.where((below(gland) > 0.9) & (below(back) < 0.5) & (streaks > 1), strands, -60))
    mirror = np.maximum(mirror, np.where((below(muscle) > 0.5) & (below(chest) < 0.5) & (fibres > 1), sheets, -60))

    columns_gain = 0.012 * noise(rng, (1, SIZE[1]), (0, 45)) + 0.006 * noise(rng, (1, SIZE[1]), (0, 12))
    return Tissue(echo=echo, loss=0.016 + 0.06 * below(chest) + columns_gain, mirror=mirror)


def _layered(rng: np.random.Generator, scale: tuple[float, float], tilt: Field) -> Field:
    """Noise in long, nearly horizontal streaks that follow the layers: shifted in depth by `tilt`."""
    rows, columns = grid(SIZE)
    flat = noise(rng, SIZE, scale)
    return flat[np.rint(rows + tilt).astype(int) % SIZE[0], columns.astype(int)]


def _with_oval(
    rng: np.random.Generator,
    tissue: Tissue,
    *,
    centre: tuple[float, float],
    radii: tuple[float, float],
    echo: float,
    loss: float,
) -> Tissue:
    """`tissue` with a smooth oval mass of the `echo` and `loss` given: capsule where the beam meets it head on, and a
    narrow shadow where it grazes the edge and is bent away."""
    out = outline(rng, SIZE, centre, radii, angle=-0.06, wobble=0.025, harmonics=4) + 0.022 * clouds(rng, SIZE, 16)
    inside = step(1 - out, 0.03)
    columns = grid(SIZE)[1]
    head_on = np.clip(1 - (np.abs(columns - centre[1]) / radii[0]) ** 2.2, 0, 1)
    wall = -24 + 12 * head_on + 4 * noise(rng, SIZE, 12) - ((out - 1.015) * radii[1] / 1.6) ** 2 * 4
    mirror = np.where(out < 1.12, wall, tissue.mirror)
    grazing = np.exp(-(((np.abs(columns - centre[1]) / radii[0] - 1) / 0.07) ** 2)) * (np.abs(out - 1) < 0.1)
    interior = echo + 2 * clouds(rng, SIZE, 16)
    return Tissue(
        echo=(1 - inside) * (tissue.echo + 2 * np.exp(-(((out - 1.1) / 0.12) ** 2))) + inside * interior,
        loss=(1 - inside) * tissue.loss + inside * loss + 0.07 * grazing,
        mirror=mirror,
    )


def _scan(rng: np.random.Generator, tissue: Tissue) -> NDArray[np.uint8]:
    """The B-mode picture of a phantom: the envelope, compounded, in dB, as grey levels."""
    shade = gaussian_filter(-np.cumsum(tissue.loss, 0), (0, 5))
    near = gaussian_filter(-np.cumsum(tissue.loss, 0), (0, 1.5))
    depth = np.linspace(0, 1, SIZE[0])[:, None]
    fall = near + depth * (shade - near)  # shadows soften with depth
    amplitude, mirror = 10 ** ((tissue.echo + fall) / 20), 10 ** ((tissue.mirror + fall) / 20)
    envelope = np.zeros(SIZE)
    for _ in range(LOOKS):
        scatter = rng.standard_normal(SIZE) + 1j * rng.standard_normal(SIZE)
        echo = _point_spread(amplitude * scatter / np.sqrt(2))
        envelope += np.abs(echo + gaussian_filter(mirror, (0.8, 1.6))) / LOOKS
    envelope = envelope + 10 ** (-DYNAMIC_RANGE / 20) * np.abs(speckle(rng))  # the receiver's own noise
    envelope = gaussian_filter(envelope, 0.6)  # the display interpolates between beams
    level = np.clip(1 + 20 * np.log10(envelope) / DYNAMIC_RANGE, 0, 1)
    return to_bytes(level**1.6)
