"""The example images, and what each of them shows."""

import json
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples"
_SHOWN: Final[dict[str, str]] = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
"""Path below FOLDER -> a text such as "synthetic: symmetric brown lesion"."""


def images(task: str = "") -> dict[Path, str]:
    """The example images of one task, or of all tasks, each with a text that says what it shows."""
    start = f"{task}/" if task else ""
    return {FOLDER / name: text for name, text in _SHOWN.items() if name.startswith(start)}
