"""H&E-like drawings of lymph node tissue: haematoxylin and eosin as amounts per pixel, seen in transmitted light.

Absorbances add up per stain (Ruifrok & Johnston 2001); the two stains' colours are the reference vectors of Macenko et
al. 2009 (doi:10.1109/ISBI.2009.5193250), whose pinks are those of scanned slides. Drawn at 0.243 µm a pixel and reduced
to 0.972 µm, as a 10× view is. Knows nothing of files, captions or classes. Every function takes a generator and returns
a (96, 96, 3) uint8 RGB tile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from examples.phantoms.texture import (
    Field,
    clouds,
    grid,
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

HAEMATOXYLIN = (0.5626, 0.7201, 0.4062)
EOSIN = (0.2159, 0.8012, 0.5581)
GLASS = (0.955, 0.94, 0.955)
FINE = 4  # fine pixels to a tile's pixel
SIZE = (96 * FINE, 96 * FINE)


@dataclass
class Tissue:
    """Amounts of the two stains at every fine pixel."""

    haematoxylin: Field
    eosin: Field

    def paint(self, where: Field, haematoxylin: Field | float, eosin: Field | float) -> None:
        """Put other amounts where `where` (0 to 1) is 1."""
        self.haematoxylin = self.haematoxylin + where * (haematoxylin - self.haematoxylin)
        self.eosin = self.eosin + where * (eosin - self.eosin)


def lymphocytes(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Small, round, dark nuclei, densely packed, with hardly any cytoplasm between them."""
    tissue = _ground(rng, eosin=0.2)
    gaps = step(clouds(rng, SIZE, 26) - 1.35, 0.12)
    _lymphocytes(rng, tissue, 1 - gaps)
    tissue.paint(gaps, 0.02, 0.05)
    return _slide(rng, tissue)


def fat_and_stroma(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Empty fat vacuoles with thin walls beside wavy pink fibres with a few spindle nuclei, and some lymphocytes."""
    tissue = _ground(rng, eosin=0.3)
    rows, columns = grid(SIZE)
    fat_side = columns + 0.45 * rows + 22 * noise(rng, SIZE, 40) - 255
    _fibres(rng, tissue, angle=-1.1)
    band = np.exp(-(((fat_side + 150) / 26) ** 2))
    _lymphocytes(rng, tissue, step(band - 0.45, 0.05), keep=0.75)
    bend = 9 * np.stack([noise(rng, SIZE, 26), noise(rng, SIZE, 26)])
    _, border, _ = mosaic(scattered(rng, SIZE, 150, jitter=0.2), SIZE, bend)
    wall = 5.5 + 2 * noise(rng, SIZE, 25)
    fat = step(fat_side + 25, 9)
    tissue.paint(fat, 0.08, 0.27)
    tissue.paint(fat * step(border - wall, 2), 0.0, 0.012)
    return _slide(rng, tissue)


def tumour_nest(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A central nest of large, uneven, pale nuclei with nucleoli in pink cytoplasm, with lymphocytes around it."""
    tissue = _ground(rng, eosin=0.22)
    out = outline(rng, SIZE, (190, 196), (165, 140), angle=0.5, wobble=0.08) + 0.05 * clouds(rng, SIZE, 25)
    _lymphocytes(rng, tissue, step(out - 1.12, 0.04), keep=0.85)
    rim = np.exp(-(((out - 1.07) / 0.07) ** 2))
    tissue.paint(0.8 * rim, 0.05, 0.24 + 0.08 * noise(rng, SIZE, 3))
    _tumour(rng, tissue, step(1 - out, 0.02), spacing=54)
    return _slide(rng, tissue)


def tumour_glands(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Large, crowded nuclei arranged round two open lumens, in pink fibrous stroma."""
    tissue = _ground(rng, eosin=0.3)
    _fibres(rng, tissue, angle=0.5)
    for centre, radii, angle in (((165.0, 165.0), (142.0, 112.0), 0.5), ((345.0, 330.0), (100.0, 84.0), -0.5)):
        out = outline(rng, SIZE, centre, radii, angle=angle, wobble=0.06) + 0.025 * clouds(rng, SIZE, 22)
        tissue.paint(0.7 * np.exp(-(((out - 1.04) / 0.035) ** 2)), 0.03, 0.08)  # the cleft that fixing leaves
        _tumour(rng, tissue, step(1 - out, 0.02), spacing=45)
        lumen = step(0.36 + 0.05 * clouds(rng, SIZE, 12) - out, 0.02)
        tissue.paint(lumen, 0.02, 0.05 + 0.05 * step(noise(rng, SIZE, 12) - 0.9, 0.1))
    return _slide(rng, tissue)


def node_field(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Densely packed lymphocytes at the fine scale, (384, 384, 3)."""
    tissue = _ground(rng, eosin=0.2)
    _lymphocytes(rng, tissue, np.ones(SIZE))
    return _fine(rng, tissue)


def tumour_field(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Tumour cells without an end at the fine scale, (384, 384, 3)."""
    tissue = _ground(rng, eosin=0.22)
    _tumour(rng, tissue, np.ones(SIZE), spacing=54)
    return _fine(rng, tissue)


def stroma_field(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Wavy pink fibres with a few spindle nuclei at the fine scale, (384, 384, 3)."""
    tissue = _ground(rng, eosin=0.3)
    _fibres(rng, tissue, angle=-1.1)
    return _fine(rng, tissue)


def _ground(rng: np.random.Generator, eosin: float) -> Tissue:
    """Loose pink ground substance."""
    mesh = 0.5 * clouds(rng, SIZE, 14) + 0.5 * noise(rng, SIZE, 3)
    return Tissue(np.full(SIZE, 0.08) + 0.02 * noise(rng, SIZE, 8), np.clip(eosin * (1 + 0.45 * mesh), 0.03, None))


def _lymphocytes(rng: np.random.Generator, tissue: Tissue, where: Field, keep: float = 0.94) -> None:
    """Nuclei of about 7 µm, dark, with clumped chromatin, in a thin pale rim."""
    points = scattered(rng, SIZE, 29.5, jitter=0.2)
    points = points[rng.random(len(points)) < keep]
    bend = 2.2 * np.stack([noise(rng, SIZE, 7), noise(rng, SIZE, 7)])
    distance, border, nearest = mosaic(points, SIZE, bend)
    radii = rng.normal(13.6, 1.5, len(points))[nearest]
    there = _at(points, where)[nearest]
    nucleus = there * step(radii - distance, 1.0) * step(border - 1.5, 0.8)
    dark = np.clip(rng.normal(0.92, 0.16, len(points)), 0.55, 1.25)[nearest] * (1 + 0.17 * noise(rng, SIZE, 2.6))
    tissue.paint(0.75 * there * step(4 - np.abs(distance - radii - 2), 1.5), 0.07, 0.14)
    tissue.paint(nucleus, dark, 0.16)


def _tumour(rng: np.random.Generator, tissue: Tissue, where: Field, spacing: float) -> None:
    """Cells with nuclei of 10 to 17 µm, uneven in size and shape: dark rim, pale inside, one or two nucleoli."""
    points = scattered(rng, SIZE, spacing, jitter=0.2)
    bend = 6 * np.stack([noise(rng, SIZE, 16), noise(rng, SIZE, 16)])
    _, border, cell = mosaic(points, SIZE, bend)
    cytoplasm = 0.27 + 0.06 * rng.standard_normal(len(points))[cell] + 0.06 * clouds(rng, SIZE, 8)
    membrane = np.exp(-((border / 3) ** 2))
    tissue.paint(where, 0.13 + 0.03 * noise(rng, SIZE, 5), np.clip(cytoplasm - 0.14 * membrane, 0.05, None))
    clumps = 1 + 0.3 * noise(rng, SIZE, 3.4)
    rows, columns = grid(SIZE)
    for point in points[_at(points, where) > 0.5]:
        size = spacing * rng.uniform(0.24, 0.40)
        stretch = rng.uniform(1.0, 1.45)
        out = outline(
            rng,
            SIZE,
            tuple(point + rng.normal(0, 2, 2)),
            (size * stretch, size / stretch**0.5),
            angle=rng.uniform(0, np.pi),
            wobble=0.05,
            harmonics=4,
        )
        inside = step(1 - out, 0.05)
        rim = np.exp(-(((out - 0.93) / 0.13) ** 2))
        tone = rng.uniform(0.36, 0.68)
        chromatin = tone * clumps + 0.28 * rim
        for _ in range(int(rng.integers(1, 3))):
            spot = point + rng.normal(0, 0.22 * size, 2)
            chromatin = chromatin + 0.5 * step(rng.uniform(2.4, 4) - np.hypot(rows - spot[0], columns - spot[1]), 0.9)
        tissue.paint(inside, chromatin, 0.22)


def _fibres(rng: np.random.Generator, tissue: Tissue, angle: float) -> None:
    """Wavy collagen along `angle` with pale clefts between the bundles, and thin spindle nuclei along it."""
    rows, columns = grid(SIZE)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    wave = across + 16 * noise(rng, SIZE, 42) + 3 * noise(rng, SIZE, 14)
    profile = noise(rng, (1, 2048), (0, 3.2))[0] + 0.8 * noise(rng, (1, 2048), (0, 9))[0]
    bundle = profile[np.rint(wave * 1.3).astype(int) % 2048] + 0.5 * clouds(rng, SIZE, 18)
    tissue.eosin = np.clip(0.23 + 0.06 * bundle, 0.04, None) * (1 + 0.12 * noise(rng, SIZE, 2.5))
    tissue.paint(step(-bundle - 1.1, 0.12), 0.02, 0.06)
    paths = []
    for start in scattered(rng, SIZE, 78, jitter=0.3):
        paths.append((wander(rng, tuple(start), angle + rng.normal(0, 0.2), rng.uniform(30, 50), 0.4), 9.0))
    tissue.paint(strokes(SIZE, paths), 0.72 + 0.14 * noise(rng, SIZE, 3), 0.2)


def _at(points: Field, field: Field) -> Field:
    """`field`'s value at each point; points outside take the nearest edge's."""
    rows, columns = np.rint(points).astype(int).T
    return field[rows.clip(0, SIZE[0] - 1), columns.clip(0, SIZE[1] - 1)]


def _light(rng: np.random.Generator, tissue: Tissue) -> Field:
    """The light through the slightly unevenly stained tissue, 0 to 1, at the fine scale."""
    uneven = 1 + 0.05 * noise(rng, SIZE, 60)
    layers = ((np.clip(tissue.haematoxylin, 0, None) * uneven, HAEMATOXYLIN), (tissue.eosin * uneven, EOSIN))
    return through(np.array(GLASS), layers)


def _fine(rng: np.random.Generator, tissue: Tissue) -> NDArray[np.uint8]:
    """What a scanner with a 40× objective sees of the tissue, with noise."""
    return to_bytes(_light(rng, tissue) + 0.02 * rng.standard_normal((*SIZE, 3)))


def _slide(rng: np.random.Generator, tissue: Tissue) -> NDArray[np.uint8]:
    """The tile a scanner makes of the tissue: slightly uneven staining, reduced in intensity, sharpened, with noise."""
    tile = _light(rng, tissue).reshape(96, FINE, 96, FINE, 3).mean((1, 3))
    tile = tile + 0.010 * rng.standard_normal(tile.shape)
    sharp = Image.fromarray(to_bytes(tile)).filter(ImageFilter.UnsharpMask(radius=1, percent=70, threshold=0))
    return np.asarray(sharp)
