"""Dermoscopy-like drawings: two chromophores under polarised light.

Skin is drawn as light that passes a melanin layer (brown) and a blood layer (red), as in the two-component model of
skin colour of Tsumura et al. 1999 (doi:10.1364/JOSAA.16.002169); structures are patterns in the two amounts. Knows
nothing of files, captions or classes. Every function takes a generator and returns a (450, 600, 3) uint8 RGB picture.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from examples.phantoms.texture import (
    Field,
    clouds,
    grid,
    mix,
    mosaic,
    noise,
    outline,
    scattered,
    step,
    strokes,
    through,
    to_bytes,
    wander,
)

SIZE = (450, 600)
CENTRE = (225.0, 300.0)
# Absorbance (decadic) per unit amount in R, G, B: chosen by eye so that 1 of melanin is mid brown, 1 of blood is red.
MELANIN = (0.20, 0.37, 0.54)
BLOOD = (0.07, 0.50, 0.31)
VEIL = (0.42, 0.43, 0.50)
SCAR = (0.80, 0.70, 0.70)


def naevus(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A round, symmetric lesion of one brown with a regular pigment network that thins towards the edge."""
    melanin, blood = _skin(rng, freckles=0.1)
    out = outline(rng, SIZE, CENTRE, (128, 104), angle=0.35, wobble=0.03, harmonics=4) + 0.035 * clouds(rng, SIZE, 12)
    inside = step(1 - out, 0.05)
    lines = _network(rng, pitch=10.5, width=1.9) * (0.75 + 0.25 * clouds(rng, SIZE, 25))
    core = np.exp(-((out / 0.6) ** 2))
    melanin = melanin + inside * (0.55 + 0.62 * core + 0.07 * clouds(rng, SIZE, 18))
    melanin = melanin + inside * lines * (0.34 + 0.1 * core) * (1 - 0.5 * step(out - 0.75, 0.08))
    return _photograph(rng, melanin, blood * (1 - 0.4 * inside), light=(0.93, 0.79, 0.77), hairs=4)


def melanoma_like(rng: np.random.Generator) -> NDArray[np.uint8]:
    """An asymmetric lesion of several colours: broken network, black blotch, blue-white veil, scar-like area, dots."""
    melanin, blood = _skin(rng, freckles=0.22)
    lobe = outline(rng, SIZE, (248, 222), (88, 72), angle=0.3, wobble=0.07, harmonics=5)
    out = outline(rng, SIZE, (215, 315), (142, 100), angle=-0.4, wobble=0.09, harmonics=7)
    out = np.minimum(out, lobe) + 0.055 * clouds(rng, SIZE, 20)
    inside = step(1 - out, 0.028)
    patches = clouds(rng, SIZE, 60)
    lines = _network(rng, pitch=14, width=2.6, wander_px=5) * step(clouds(rng, SIZE, 40), 0.25)
    blotch = step(0.95 - outline(rng, SIZE, (178, 372), (60, 42), angle=0.6, wobble=0.1) - 0.12 * patches, 0.1)
    dots = _blobs(rng, spacing=16, radius=(1.4, 3.8), keep=0.33) * step(0.2 - np.abs(out - 0.9), 0.05)
    melanin = melanin + inside * np.clip(0.75 + 0.36 * patches + 0.1 * noise(rng, SIZE, 3), 0.22, None)
    melanin = melanin + inside * (0.62 * lines + 1.25 * blotch) + 1.1 * dots * step(1.12 - out, 0.03)
    red = step(1 - outline(rng, SIZE, (262, 212), (56, 44), wobble=0.12), 0.2)
    blood = blood * (1 - 0.3 * inside) + 0.32 * inside * red
    melanin = melanin * (1 - 0.45 * inside * red)
    veil = step(1 - outline(rng, SIZE, (228, 318), (66, 44), angle=-0.3, wobble=0.12) - 0.12 * patches, 0.2)
    veil = 0.72 * inside * veil * (0.8 + 0.16 * clouds(rng, SIZE, 14)) * (1 - 0.35 * lines)
    scar = step(1 - outline(rng, SIZE, (172, 268), (38, 24), angle=-0.5, wobble=0.12) - 0.12 * patches, 0.14)
    scar = 0.62 * inside * scar * (0.85 + 0.15 * clouds(rng, SIZE, 14))
    over = ((VEIL, veil), (SCAR, scar))
    return _photograph(rng, melanin, blood, light=(0.88, 0.78, 0.79), over=over, hairs=6)


def keratosis_like(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A sharply bordered, waxy brown lesion with white milia-like cysts and dark comedo-like openings."""
    melanin, blood = _skin(rng, freckles=0.3)
    out = outline(rng, SIZE, CENTRE, (148, 110), angle=0.2, wobble=0.05, harmonics=8) + 0.035 * clouds(rng, SIZE, 18)
    inside = step(1 - out, 0.013)
    bend = 7 * np.stack([noise(rng, SIZE, 9), noise(rng, SIZE, 9)])
    _, border, _ = mosaic(scattered(rng, SIZE, 27), SIZE, bend)
    furrows = np.exp(-((border / 4.5) ** 2)) * step(clouds(rng, SIZE, 30) + 0.1, 0.3)
    openings = _blobs(rng, spacing=40, radius=(2.6, 6), keep=0.45, squash=0.4, softness=1.4) * step(0.86 - out, 0.04)
    cysts = _blobs(rng, spacing=31, radius=(1.6, 4.2), keep=0.5, softness=1.3) * step(0.84 - out, 0.04)
    melanin = melanin + inside * (0.62 + 0.19 * clouds(rng, SIZE, 34) + 0.05 * noise(rng, SIZE, 2.5))
    melanin = melanin + inside * (0.26 * furrows + 0.2 * np.exp(-(((out - 0.95) / 0.08) ** 2))) + 1.2 * openings
    waxy = 0.22 * inside * step(clouds(rng, SIZE, 24) - 0.7, 0.3)
    over = (((0.80, 0.68, 0.58), waxy), ((0.95, 0.90, 0.82), 0.7 * cysts * (1 - openings)))
    return _photograph(rng, melanin, blood, light=(0.92, 0.83, 0.78), over=over, hairs=3)


def carcinoma_like(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A pink, pearly lesion with sharp branching vessels, blue-grey ovoid nests and a small crust."""
    melanin, blood = _skin(rng, freckles=0.12)
    out = outline(rng, SIZE, CENTRE, (150, 112), angle=-0.2, wobble=0.06) + 0.06 * clouds(rng, SIZE, 25)
    inside = step(1 - out, 0.07)
    vessels = gaussian_filter(strokes(SIZE, _tree(rng, out)), 0.6) * step(1.0 - out, 0.06)
    vessels = vessels * np.clip(1 + 0.25 * clouds(rng, SIZE, 25), 0.3, None)
    nests = _blobs(rng, spacing=40, radius=(5, 12), keep=0.5, squash=0.4, softness=2.6)
    nests = nests * np.exp(-(((out - 0.72) / 0.22) ** 2)) * step(clouds(rng, SIZE, 60), 0.2)
    crust = step(1 - outline(rng, SIZE, (244, 318), (17, 12), wobble=0.08) - 0.15 * clouds(rng, SIZE, 8), 0.12)
    melanin = (
        melanin * (1 - 0.5 * inside)
        + 0.08 * inside * np.clip(clouds(rng, SIZE, 30), 0, None)
        + 1.3 * crust
        + 0.22 * vessels
    )
    blood = blood + inside * (0.12 + 0.05 * clouds(rng, SIZE, 30)) + 0.4 * crust
    blood = blood + 0.62 * vessels + 0.26 * gaussian_filter(vessels, 4)
    pearl = 0.4 * inside * step(clouds(rng, SIZE, 38) - 0.3, 0.4)
    over = (((0.90, 0.80, 0.82), pearl * (1 - vessels)), ((0.46, 0.42, 0.50), 0.7 * nests * (1 - 0.8 * vessels)))
    return _photograph(rng, melanin, blood, light=(0.92, 0.83, 0.83), over=over, hairs=4)


def lagoons(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A sharply bordered lesion of round red to purple lagoons between whitish septa."""
    melanin, blood = _skin(rng, freckles=0.08)
    out = outline(rng, SIZE, CENTRE, (118, 106), angle=0.6, wobble=0.04, harmonics=8) + 0.03 * clouds(rng, SIZE, 16)
    inside = step(1 - out, 0.02)
    points = scattered(rng, SIZE, 29, jitter=0.2)
    bend = 4 * np.stack([noise(rng, SIZE, 10), noise(rng, SIZE, 10)])
    distance, border, cell = mosaic(points, SIZE, bend)
    radii = rng.uniform(7, 17, len(points))[cell]
    depth = rng.uniform(0.45, 1.0, len(points))[cell]
    purple = (rng.random(len(points)) < 0.35)[cell] * rng.uniform(0.15, 0.45, len(points))[cell]
    lagoon = step(radii - distance, 2.2) * step(border - 3, 1.6)
    blood = blood + inside * (0.55 + 0.75 * lagoon * depth + 0.08 * clouds(rng, SIZE, 14))
    melanin = melanin + inside * lagoon * purple
    septa = inside * np.exp(-((border / 3) ** 2)) * step(clouds(rng, SIZE, 26) - 0.4, 0.3)
    haze = 0.26 * inside * step(clouds(rng, SIZE, 30), 0.4)
    over = (((0.74, 0.66, 0.80), haze), ((0.86, 0.76, 0.85), 0.45 * septa))
    return _photograph(rng, melanin, blood, light=(0.93, 0.83, 0.88), over=over, hairs=3)


def _skin(rng: np.random.Generator, freckles: float) -> tuple[Field, Field]:
    """Melanin and blood of healthy skin: mottling, faint freckles, and the fine furrows between small fields."""
    bend = 2 * np.stack([noise(rng, SIZE, 5), noise(rng, SIZE, 5)])
    _, border, _ = mosaic(scattered(rng, SIZE, 12), SIZE, bend)
    furrows = np.exp(-((border / 1.4) ** 2))
    spots = np.clip(clouds(rng, SIZE, 26, octaves=2) - 0.9, 0, None)
    melanin = 0.1 + 0.03 * clouds(rng, SIZE, 60) + 0.6 * freckles * spots + 0.022 * furrows
    capillaries = np.exp(-((noise(rng, SIZE, 6) / 0.12) ** 2)) * step(noise(rng, SIZE, 30), 0.4)
    blood = 0.06 + 0.02 * clouds(rng, SIZE, 45) + 0.02 * furrows + 0.03 * gaussian_filter(capillaries, 1)
    return melanin, blood


def _network(rng: np.random.Generator, pitch: float, width: float, wander_px: float = 2.0) -> Field:
    """A pigment network, 0 to 1: brown lines `width` wide round holes `pitch` apart."""
    bend = wander_px * np.stack([noise(rng, SIZE, 8), noise(rng, SIZE, 8)])
    _, border, _ = mosaic(scattered(rng, SIZE, pitch, jitter=0.17), SIZE, bend)
    return np.exp(-((border / (1.6 * width)) ** 2))


def _blobs(
    rng: np.random.Generator,
    spacing: float,
    radius: tuple[float, float],
    keep: float,
    squash: float = 0.1,
    softness: float = 0.8,
) -> Field:
    """Round spots, 0 to 1, on a share `keep` of a jittered grid, with radii in the range given."""
    points = scattered(rng, SIZE, spacing)
    points = points[rng.random(len(points)) < keep]
    radii = rng.uniform(*radius, len(points))
    bend = squash * radii.mean() * np.stack([noise(rng, SIZE, radii.mean()), noise(rng, SIZE, radii.mean())])
    distance, _, nearest = mosaic(points, SIZE, bend)
    return step(radii[nearest] - distance, softness)


def _tree(rng: np.random.Generator, out: Field) -> list[tuple[Field, float]]:
    """Branching vessels that enter a lesion (`out` below 1) from its edge: paths with their widths at the root."""
    paths: list[tuple[Field, float]] = []
    for angle in np.linspace(0, 2 * np.pi, 7, endpoint=False) + rng.normal(0, 0.25, 7):
        ray = np.arange(20, 200)
        on_ray = (
            (CENTRE[0] + ray * np.sin(angle)).astype(int).clip(0, SIZE[0] - 1),
            (CENTRE[1] + ray * np.cos(angle)).astype(int).clip(0, SIZE[1] - 1),
        )
        reach = float(ray[np.argmax(out[on_ray] > 1)])
        root = (CENTRE[0] + reach * np.sin(angle), CENTRE[1] + reach * np.cos(angle))
        trunk = wander(rng, root, angle + np.pi + rng.normal(0, 0.45), rng.uniform(70, 125), 0.9)
        paths.append((trunk, rng.uniform(1.9, 3.0)))
        for _ in range(5):
            fork = int(rng.integers(4, len(trunk) - 3))
            heading = np.arctan2(*(trunk[fork] - trunk[fork - 1]))
            side = heading + rng.choice((-1, 1)) * rng.uniform(0.5, 1.0)
            branch = wander(rng, tuple(trunk[fork]), side, rng.uniform(20, 62), 1.1)
            paths.append((branch, rng.uniform(1.1, 1.7)))
            twig = int(rng.integers(2, len(branch) - 1))
            paths.append((wander(rng, tuple(branch[twig]), side + rng.normal(0, 0.8), rng.uniform(9, 26), 0.9), 1.0))
    return paths


def _photograph(
    rng: np.random.Generator,
    melanin: Field,
    blood: Field,
    *,
    light: tuple[float, float, float],
    over: tuple[tuple[tuple[float, float, float], Field], ...] = (),
    hairs: int,
) -> NDArray[np.uint8]:
    """The picture of the two amounts: what lies `over` them, hairs, the lamp's fall-off, and the camera's noise."""
    grain = 1 + 0.012 * noise(rng, SIZE, 1.2)[..., None]
    image = through(grain * np.array(light), ((np.clip(melanin, 0, 3.4), MELANIN), (np.clip(blood, 0, None), BLOOD)))
    for colour, share in over:
        image = mix(image, colour, share)
    paths = []
    for _ in range(hairs):
        start = (float(rng.uniform(0, SIZE[0])), float(rng.uniform(0, SIZE[1])))
        path = wander(rng, start, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(60, 230)), 0.7)
        paths.append((path, float(rng.uniform(1.0, 2.2))))
    image = mix(image, (0.16, 0.11, 0.10), 0.85 * strokes(SIZE, paths))
    rows, columns = grid(SIZE)
    distance = np.hypot((rows - 215) / 225, (columns - 310) / 300)
    image = image * (1.02 - 0.16 * np.clip(distance, 0, None) ** 2.6)[..., None]
    image = image + 0.008 * np.stack([noise(rng, SIZE, 0.7) for _ in range(3)], -1)
    return to_bytes(image)
