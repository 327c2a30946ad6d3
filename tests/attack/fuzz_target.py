"""Coverage-guided fuzzing of what reads a visitor's file, by atheris:

    python -m tests.attack.fuzz_target TARGET FOLDER SECONDS

TARGET is a key of TARGETS. FOLDER holds the inputs that reached new code, beginning with well-formed files. Ends with a
status other than 0 at the first exception that is not a refusal, the first input that takes longer than HANGS seconds,
and above MEMORY_MB. Each target runs in a process of its own, because
this module instruments whatever it imports.
"""

import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import atheris

HANGS, MEMORY_MB = 10, 3000
LONGEST: Final = 16_384
"""Bytes of one input."""
OWN: Final = ("src.pictures", "src.results.local_validation", "src.service.clinic_table")
"""The modules whose branches guide the fuzzer, beside those of LIBRARIES."""
LIBRARIES: Final = ("PIL", "zipfile", "csv")

with atheris.instrument_imports(include=[*OWN, *LIBRARIES], enable_loader_override=False):
    from src.pictures import decode
    from src.pictures.archive import Archive, ArchiveRefused
    from src.pictures.picture import ImageRefused
    from src.results.local_validation import TableRefused, parse_table, read_text, validate

from src.tasks import TASKS  # noqa: E402 - after what is instrumented
from tests.attack.reading import originals  # noqa: E402


def read_image(data: bytes) -> None:
    """Any bytes are an RGB image or a refusal."""
    try:
        picture = decode.read(data, "black")
    except ImageRefused:
        return
    assert picture.image.mode == "RGB"


def read_archive(data: bytes) -> None:
    """Any bytes are an archive or a refusal; so is each of its members."""
    try:
        archive = Archive(data)
    except ArchiveRefused:
        return
    for member in archive.members:
        try:
            content = archive.read(member)
        except ArchiveRefused:
            continue
        assert len(content) == member.size


def read_table(data: bytes, file: Path = Path("table.csv")) -> None:
    """Any bytes are a clinic's table or a refusal."""
    file.write_bytes(data)
    try:
        report = validate(parse_table(read_text(file), TASKS["skin"]), 0.3)
    except TableRefused:
        return
    assert report


def _archives() -> list[bytes]:
    made = []
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as packed:
            packed.writestr("a.png", originals()[6])
            packed.writestr("folder/é.txt", "text " * 20)
        made.append(out.getvalue())
    return made


def _tables() -> list[bytes]:
    return [
        b"p_malignant,label\n0.5,malignant\n0.25,benign\n",
        b"label;p_malignant;group;error\nmel;0,75;a;\nnv;0,1;b;\nnv;;c;It is no picture.\n",
        "\ufeffp_malignant\tlabel\n1\tbcc\n0\tbenign\n".encode(),
    ]


@dataclass(frozen=True)
class Target:
    """`read` is called with each input; `seeds` are the well-formed ones to begin with."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes] | tuple[bytes, ...]]


TARGETS: Final[Mapping[str, Target]] = {
    "images": Target(read_image, originals),
    "archives": Target(read_archive, _archives),
    "tables": Target(read_table, _tables),
}


def main() -> None:
    """Fuzz one target, as the command line says."""
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    read = (lambda data: read_table(data, folder / "table.csv")) if name == "tables" else target.read
    flags = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={HANGS}", f"-rss_limit_mb={MEMORY_MB}"]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={folder}/", str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
