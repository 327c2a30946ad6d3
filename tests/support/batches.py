"""A zip of images, and the rows of a batch from it."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from src.service import batch
from src.service.batch import Row
from src.service.model_loading import Models
from src.tasks import TASKS
from tests.support.app import ROOT

TASK = TASKS["breastmnist"]
EXAMPLES = sorted((ROOT / "examples" / "breastmnist").glob("*"))
NASTY = "<img src=x onerror=alert(1)>.png"


def packed(folder: Path, further: Mapping[str, bytes] = MappingProxyType({})) -> tuple[str, str]:
    """A zip of the examples and of `further` files: its path and its name."""
    name = "ward.zip"
    with zipfile.ZipFile(folder / name, "w") as out:
        for file in EXAMPLES:
            out.write(file, f"a/{file.name}")
        for member, content in further.items():
            out.writestr(member, content)
    return str(folder / name), name


def read(models: Models, *files: tuple[str, str], threshold: float = 0.3) -> list[Row]:
    return batch.read_items(models, TASK.name, batch.items(models, files), threshold)
