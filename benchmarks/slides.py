"""Whole slides: tiles a second as a share of the bare network's, the most resident memory, and growth with area.

    python -m benchmarks.slides [--side 12500 25000 50000] [--stride 32 96] [--flat]

Makes slides of drawn tissue whose compressed tiles repeat, so that a large one is made in seconds. The bare network
runs in the same process before and after, because other programs change the speed of a machine. Several sides say how
time grows with area: it is linear if each slide takes the same time per 10^9 pixels.
"""

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import imagecodecs
import numpy as np
import tifffile
import torch

from examples.phantoms import histopathology, slide
from src.models import checkpoints
from src.models.predictor import Predictor
from src.slides import run, scoring
from src.slides.run import Options

TILE: Final = 256
TISSUE: Final = 0.3
FACTORS: Final = (1, 4, 16)
SECONDS: Final = 10.0


def make(file: Path, side: int, factors: Sequence[int]) -> None:
    """A slide of `side` × `side` pixels at 0.243 µm, 30% of it tissue in the middle, and its further levels."""
    rng = np.random.default_rng(0)
    fields = np.hstack([np.vstack([histopathology.node_field(rng) for _ in range(2)]) for _ in range(2)])
    glass = np.full((TILE, TILE, 3), 243, np.uint8)
    with tifffile.TiffWriter(file, bigtiff=True) as out:
        for factor in factors:
            tissue = np.asarray(fields)[: 768 // factor * factor, : 768 // factor * factor]
            small = tissue.reshape(768 // factor, factor, 768 // factor, factor, 3).mean((1, 3)).astype(np.uint8)
            small = np.tile(small, (16, 16, 1))[: 3 * TILE, : 3 * TILE]
            encoded = [
                imagecodecs.jpeg8_encode(small[y : y + TILE, x : x + TILE], level=80)
                for y in range(0, 3 * TILE, TILE)
                for x in range(0, 3 * TILE, TILE)
            ]
            length = -(-side // factor)
            out.write(
                _tiles(length, encoded, imagecodecs.jpeg8_encode(glass, level=80)),
                shape=(length, length, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(factor > 1),
                metadata=None,
                resolution=(10_000 / slide.FINE_MPP,) * 2,
                resolutionunit="CENTIMETER",
            )


def _tiles(length: int, tissue: Sequence[bytes], glass: bytes) -> Iterator[bytes]:
    number = -(-length // TILE)
    half = TISSUE**0.5 / 2
    for row in range(number):
        for column in range(number):
            inside = abs((row + 0.5) / number - 0.5) < half and abs((column + 0.5) / number - 0.5) < half
            yield tissue[(row % 3) * 3 + column % 3] if inside else glass


class Speed(NamedTuple):
    """Tiles a second, and the processor's time per tile in milliseconds, which other programs change less."""

    rate: float
    processor: float


def bare(predictor: Predictor) -> Speed:
    """The network alone, on normalised tensors in memory."""
    pixels = torch.randn(scoring.BATCH, *predictor.checkpoint.config.pretrained_cfg.input_size)
    predictor._run(pixels, all_views=False)
    began, spent, tiles = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < SECONDS:
        predictor._run(pixels, all_views=False)
        tiles += scoring.BATCH
    return Speed(tiles / (time.monotonic() - began), 1000 * (time.process_time() - spent) / tiles)


def processor() -> float:
    """Seconds of the processor that this process and its children took, those that still run too."""
    return sum(os.times()[:4]) + sum(map(_processor, _children()))


class Memory(threading.Thread):
    """The most resident memory of this process and its children, in bytes, while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.own, self.over = 0, 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.over.wait(0.1):
            own = _resident("self")
            self.own = max(self.own, own)
            self.most = max(self.most, own + sum(map(_resident, _children())))


def _children() -> set[str]:
    found = set[str]()
    for task in Path("/proc/self/task").iterdir():
        # A thread may have ended.
        with contextlib.suppress(OSError):
            found.update((task / "children").read_text().split())
    return found


def _processor(pid: str) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)


class Measured(NamedTuple):
    """One run over a slide.

    `pixels`: those of the slide. `tiles`, `rate`: tiles, and tiles a second without the overview. `core_seconds`: the
    processor's time of the whole run. `spent`: milliseconds of a core per tile without the overview. `network`: the
    bare network. `own`, `most`: the memory of the process and with its readers, in bytes.
    """

    name: str
    stride: int
    pixels: int
    tiles: int
    seconds: float
    overview: float
    rate: float
    core_seconds: float
    spent: float
    network: Speed
    own: int
    most: int
    tissue: float

    def line(self) -> str:
        """The run as a line."""
        network, billions = self.network, self.pixels / 1e9
        return (
            f"{self.name}, stride {self.stride}: {self.tiles:,} tiles in {self.seconds:.0f} s, {self.overview:.0f} s "
            f"of them for the overview; {self.seconds / billions:.1f} s and {self.core_seconds / billions:.1f} s of a "
            f"core per 10^9 pixels; {self.rate:.0f} tiles/s, {self.rate / network.rate:.2f} of the bare network's "
            f"{network.rate:.0f}; {self.spent:.2f} ms of a core per tile, of which the network takes "
            f"{network.processor:.2f} ({network.processor / self.spent:.2f}); memory {self.own / 1e6:.0f} MB, with the "
            f"readers {self.most / 1e6:.0f} MB; {self.tissue:.0%} tissue"
        )


def measure(file: Path, stride: int, predictor: Predictor, folder: Path) -> Measured:
    """Read a slide, and the bare network before and after it."""
    first = bare(predictor)
    memory = Memory()
    memory.start()
    began, before = time.monotonic(), processor()
    marks: list[float] = []
    progress = run.SILENT._replace(begin=lambda *_: marks.extend([time.monotonic(), processor()]))
    report = run.run(file, folder, predictor, Options(0.3, stride), progress)
    ended = time.monotonic()
    memory.over.set()
    after = processor()
    network = Speed(*(sum(pair) / 2 for pair in zip(first, bare(predictor), strict=True)))
    return Measured(
        name=file.stem,
        stride=stride,
        pixels=report.width * report.height,
        tiles=report.tiles,
        seconds=ended - began,
        overview=marks[0] - began,
        rate=report.tiles / (ended - marks[0]),
        core_seconds=after - before,
        spent=1000 * (after - marks[1]) / report.tiles,
        network=network,
        own=memory.own,
        most=memory.most,
        tissue=report.tissue_fraction,
    )


def main() -> None:
    """Print a line for each slide and stride."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slides", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, nargs="+", default=[50_000])
    parser.add_argument("--stride", type=int, nargs="+", default=[96, 32])
    parser.add_argument("--flat", action="store_true", help="level 0 only")
    options = parser.parse_args()
    predictor = Predictor(checkpoints.find("histopathology"))
    with tempfile.TemporaryDirectory() as made:
        for side in options.side:
            file = Path(made) / f"{'flat' if options.flat else 'pyramid'} of {side:,}"
            # In a process of its own, whose memory does not count.
            maker = multiprocessing.get_context("spawn").Process(
                target=make, args=(file, side, FACTORS[:1] if options.flat else FACTORS)
            )
            maker.start()
            maker.join()
            for stride in options.stride:
                print(measure(file, stride, predictor, Path(made) / f"{file.name} {stride}").line(), flush=True)


if __name__ == "__main__":
    main()
