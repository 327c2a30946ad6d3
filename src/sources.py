"""The images that a command's arguments name: files, folders, and studies in an archive that speaks DICOMweb."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from src.pictures import folder

ARCHIVES: Final = ("dicomweb://", "dicomweb+http://")
"""The starts of a source in an archive."""
EMPTY: Final = "The archive lists no instance there."


@dataclass
class Found(folder.Found):
    """The images that were found, in order. `names`: what to call a file that was fetched from an archive."""

    names: dict[str, str] = field(default_factory=dict)


def find(sources: Sequence[str], fetched: Path) -> Found:
    """The images of all sources: first the files, then those of archives, which are fetched into the folder `fetched`.

    An image that cannot be fetched is an entry with an error, and so is a source without an image.
    """
    local = folder.find(source for source in sources if not source.startswith(ARCHIVES))
    found = Found(local.entries, local.left_out)
    for source in sources:
        if source.startswith(ARCHIVES):
            _fetch(source, fetched, found)
    return found


def _fetch(source: str, fetched: Path, found: Found) -> None:
    """Fetch the images of a source in an archive, and add them to what was found."""
    # Imported here, because it takes half a second.
    from src import dicomweb

    try:
        archive, study, series = dicomweb.parse(source)
        instances = archive.instances(study, series)
    except dicomweb.ArchiveError as error:
        found.entries.append((source, str(error)))
        return
    if not instances:
        found.entries.append((source, EMPTY))
    for study, series, uid in instances:
        name = f"{source.partition('/studies/')[0]}/studies/{study}/series/{series}/instances/{uid}"
        file = fetched / f"{len(found.names)}.dcm"
        try:
            file.write_bytes(archive.fetch((study, series, uid)))
        except dicomweb.ArchiveError as error:
            found.entries.append((name, str(error)))
        else:
            found.entries.append((str(file), None))
            found.names[str(file)] = name
