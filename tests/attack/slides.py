"""Mutated slides: `python -m tests.attack.slides [--count 5000] [--seed 0] [--begin 0]`.

Well-formed slides of several kinds are changed at random: flipped bytes, damaged tags and offsets, cut ends, lengths
that lie. Each is opened, its overview is read, and parts of it. The promise: a slide or one sentence, within SECONDS,
below MEMORY bytes in the reader and its parent together. It is a command of its own, because it needs no app.
"""

import argparse
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from src.pictures.picture import ImageRefused
from src.slides import grid, scoring, tissue
from src.slides.readers import Readers
from tests.support import dicom_slide, slide_files

SECONDS: Final = 30
MEMORY: Final = 10**9


def originals(folder: Path) -> list[Path]:
    """Small slides of every kind that can be made here."""
    pixels = np.full((768, 1024, 3), 243, np.uint8)
    pixels[100:600, 100:800] = np.random.default_rng(0).integers(80, 220, (500, 700, 3))
    aperio = "Aperio Image Library v11.2.1\r\n1024x768 [0,0 1024x768] (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    return [
        slide_files.write(folder / "jpeg.tif", pixels, 0.5, (1, 4)),
        slide_files.write(folder / "plain.tif", pixels, 0.97, compression=None),
        slide_files.write(folder / "deflate.tif", pixels, 0.5, (1, 2), compression="zlib"),
        slide_files.write(folder / "lzw.tif", pixels, 0.5, compression="lzw"),
        slide_files.write(folder / "aperio.svs", pixels, None, (1, 4), description=aperio),
        slide_files.write(folder / "jpeg2000.svs", pixels, None, compression="jpeg2000", description=aperio),
        dicom_slide.write(folder / "slide.dcm", pixels, 0.5, "YBR_FULL_422"),
        dicom_slide.write(folder / "rgb.dcm", pixels, 0.5, "RGB"),
    ]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to three changes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        # Half of the changes are where the directories are: at the beginning and at the end.
        near = min(len(changed) - 9, 2000)
        at = rng.choice((rng.randrange(near), len(changed) - 9 - rng.randrange(near), rng.randrange(len(changed) - 8)))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1, len(data), 65_536)))
        elif kind == 2:
            changed[at : at + 8] = struct.pack("<Q", rng.choice((0, 2**63, 2**40, len(data) - 1, at)))
        elif kind == 3:
            changed[at : at + rng.randrange(1, 200)] = rng.randbytes(rng.randrange(1, 200))
        elif kind == 4:
            del changed[max(16, rng.randrange(len(changed))) :]
        else:
            changed[at : at + 2] = struct.pack("<H", rng.randrange(65_536))
        if len(changed) < 64:
            break
    return bytes(changed)


def read(file: Path, memory: list[int]) -> Iterator[str]:
    """All that a run reads of a slide before the network; yields the outcome. Adds the most memory of a reader."""
    try:
        with closing(Readers(file)) as readers:
            about = readers.about
            how, coarse = about.reading(0.97), about.reading(tissue.OVERVIEW_MPP)
            overview = scoring.overview(readers, coarse, grid.size(about, coarse), lambda _: None)
            cells = grid.grid(about, how, 96, 96)
            chosen = grid.cells_with_tissue(
                cells, tissue.mask(overview, coarse.scale * about.mpp), coarse.scale / how.scale
            )
            failed = 0
            for block in cells.blocks(chosen):
                try:
                    readers.read(how, *cells.region(block))
                except ImageRefused:
                    failed += 1
            memory.append(max(map(_most_resident, readers.pids()), default=0))
            yield "parts left out" if failed else "read"
    except ImageRefused as refusal:
        yield str(refusal)


def _most_resident(pid: int | str) -> int:
    """The most memory of a process, in bytes, since it was started."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def main() -> int:
    """Print the outcomes; returns 1 if the promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.slides", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="the number of the first slide, to continue a run")
    options = parser.parse_args()
    rng, outcomes, longest, broken = random.Random(options.seed), Counter[str](), 0.0, 0
    memory = [0]
    with tempfile.TemporaryDirectory() as made:
        well_formed = [(file.suffix, file.read_bytes()) for file in originals(Path(made))]
        for number in tqdm(range(options.count), unit="slide"):
            suffix, data = well_formed[number % len(well_formed)]
            file = Path(made) / f"mutated{suffix}"
            changed = mutated(data, rng)
            if number < options.begin:
                continue
            file.write_bytes(changed)
            began = time.monotonic()
            try:
                outcomes.update(read(file, memory))
            except Exception as error:  # noqa: BLE001 - what this looks for
                broken += 1
                outcomes[f"NOT A SENTENCE: {error!r}"] += 1
            longest = max(longest, time.monotonic() - began)
    for outcome, count in outcomes.most_common(40):
        print(f"{count:6,}  {outcome}")
    print(
        f"{options.count - options.begin:,} mutated slides: {broken} without a sentence, the longest took "
        f"{longest:.1f} s, a reader took {max(memory) / 1e6:.0f} MB, "
        f"and this process {_most_resident('self') / 1e6:.0f} MB."
    )
    return int(broken > 0 or longest > SECONDS or max(memory) + _most_resident("self") > MEMORY)


if __name__ == "__main__":
    sys.exit(main())
