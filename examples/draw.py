"""Draw the pictures that visitors click on, so that no patient's image is needed to try the page.

    python -m examples.draw [--out FOLDER]

writes TASK/NAME.png or .jpg and examples.json (picture -> caption), which is all that the page reads. A picture is a
drawing with a fixed seed: it shows what its kind of image looks like and is no test of a model. This module knows the
list, the captions and the files; how a picture is drawn is in `examples.phantoms`.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.phantoms import histopathology, skin, ultrasound

Draw = Callable[[np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True)
class Example:
    """One picture: its path below the folder, what is drawn on it, how, and from which seed."""

    path: str
    caption: str
    draw: Draw
    seed: int

    def image(self) -> Image.Image:
        """The picture before it is encoded: RGB for skin and histopathology, else grey."""
        return Image.fromarray(self.draw(np.random.default_rng(self.seed)))


def _small(draw: Draw) -> Draw:
    return lambda rng: ultrasound.thumbnail(draw(rng))


EXAMPLES = (
    Example("skin/naevus.jpg", "synthetic: symmetric brown lesion with a regular network", skin.naevus, 21),
    Example("skin/irregular.jpg", "synthetic: asymmetric lesion of several colours", skin.melanoma_like, 22),
    Example("skin/waxy.jpg", "synthetic: sharply bordered lesion with milia-like cysts", skin.keratosis_like, 23),
    Example("skin/vessels.jpg", "synthetic: pink, pearly lesion with branching vessels", skin.carcinoma_like, 27),
    Example("skin/lagoons.jpg", "synthetic: red and purple lagoons between pale septa", skin.lagoons, 28),
    Example("ultrasound/oval.jpg", "synthetic: smooth oval mass with posterior enhancement", ultrasound.oval_mass, 5),
    Example(
        "ultrasound/spiculated.jpg",
        "synthetic: spiculated, taller-than-wide mass with shadow",
        ultrasound.spiculated_mass,
        17,
    ),
    Example("ultrasound/no_mass.jpg", "synthetic: layered breast tissue without a mass", ultrasound.no_mass, 3),
    Example("ultrasound/cyst.jpg", "synthetic: simple cyst, without echo inside", ultrasound.cyst, 4),
    Example("breastmnist/oval.png", "synthetic: smooth oval mass at 28×28", _small(ultrasound.oval_mass), 11),
    Example(
        "breastmnist/spiculated.png",
        "synthetic: spiculated mass with shadow at 28×28",
        _small(ultrasound.spiculated_mass),
        16,
    ),
    Example("breastmnist/no_mass.png", "synthetic: tissue without a mass at 28×28", _small(ultrasound.no_mass), 13),
    Example("histopathology/lymphocytes.png", "synthetic: densely packed lymphocytes", histopathology.lymphocytes, 1),
    Example("histopathology/fat_and_stroma.png", "synthetic: fat and fibrous stroma", histopathology.fat_and_stroma, 1),
    Example(
        "histopathology/nest.png",
        "synthetic: nest of large pale nuclei among lymphocytes",
        histopathology.tumour_nest,
        1,
    ),
    Example(
        "histopathology/glands.png",
        "synthetic: large nuclei round open lumens in stroma",
        histopathology.tumour_glands,
        1,
    ),
)


def draw_all(folder: Path) -> None:
    """Write every picture and examples.json below `folder`, over what is there."""
    for example in EXAMPLES:
        path = folder / example.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":  # speckle and skin's grain cost four times as much as PNG
            example.image().save(path, quality=88, subsampling=0)
        else:
            example.image().save(path, optimize=True)
    captions = {example.path: example.caption for example in EXAMPLES}
    text = json.dumps(captions, ensure_ascii=False, indent=2) + "\n"
    (folder / "examples.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: examples)"
    )
    draw_all(parser.parse_args().out)
