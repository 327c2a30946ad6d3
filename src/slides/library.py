"""The slides that the page offers: those of the operator's folder, and a drawn example. Each has an unguessable id.

The scores of a slide in DIR are those that `python -m src.slide DIR/SLIDE --out DIR/scores` wrote.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset(
    (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm", ".tif", ".tiff")
)
"""The suffixes of slides. OpenSlide decides by the content when a slide is opened."""
MANY_FILES: Final = frozenset((".mrxs", ".vms", ".vmu"))
"""The suffixes of slides that have several files, of which one alone cannot be read."""
SCORES: Final = "scores"
EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples" / "slide"


@dataclass(frozen=True)
class Offered:
    """A slide on the page: its name, its file, and the folder of its scores, which may not exist.

    `uploaded`: whether a visitor sent it. Its file may be gone at any moment.
    """

    name: str
    file: Path
    scores: Path
    uploaded: bool = False


def add(slides: dict[str, Offered], name: str, file: Path) -> str:
    """Add an uploaded slide; returns its id. The uploaded slides whose files are gone are forgotten."""
    for key, one in list(slides.items()):
        if one.uploaded and not one.file.exists():
            del slides[key]
    key = secrets.token_urlsafe(16)
    slides[key] = Offered(name, file, file.parent / SCORES / file.name, uploaded=True)
    return key


def offered(folder: Path | None, examples: Path = EXAMPLES) -> dict[str, Offered]:
    """The slides by their ids: the examples first, then those of `folder`, by name."""
    found = [*_slides(examples, "Drawn example: "), *(_slides(folder, "") if folder is not None else ())]
    return {secrets.token_urlsafe(16): one for one in found}


def _slides(folder: Path, prefix: str) -> Sequence[Offered]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    return [Offered(prefix + file.name, file.resolve(), (folder / SCORES / file.name).resolve()) for file in files]
