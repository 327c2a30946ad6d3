"""Images for `python -m src.score`, and the table that it writes."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int = 0, side: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    blotches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    # The format is PNG whatever the suffix: what a file is, its bytes say.
    Image.fromarray(blotches).resize((side, side)).save(path, "PNG")
    return path


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))
