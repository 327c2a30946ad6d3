"""What a million skin images and 10,000 slides take: measured rates (docs/scale.json) -> the tables of docs/SCALE.md.

    python -m benchmarks.plan [--core-hour USD] [--gpu-hour USD] [--list-seconds S] [--seed N]

`python -m benchmarks.scale` measures the rates. The row of the GPU is an estimate, and the failures are assumptions.
The constants below say from what. The same file gives the same tables on every machine.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.scale import PART, RESULTS
from benchmarks.servers import ROOT
from benchmarks.simulation import Cluster, Failures, Simulated, simulate
from src.scale.parts import part_size

DOCUMENT: Final = ROOT / "docs" / "SCALE.md"
START: Final = "<!-- plan: written by python -m benchmarks.plan -->"
END: Final = "<!-- /plan -->"

IMAGES, SLIDES = 1_000_000, 10_000
SLIDE_SIDE: Final = 50_000
"""Pixels of a slide's side. A third of it is tissue, as in the measured slide."""
CORES: Final = (2, 64, 1_000)

CORE_HOUR: Final = 1.90 / 32
"""US$ of a core: "CPU Performance" of Hugging Face Jobs, 32 vCPU for $1.90."""
GPU_HOUR, GPU_CORES = 0.40, 4
"""US$ of "Nvidia T4 - small" of Hugging Face Jobs, and its vCPUs."""
PRICES: Final = "https://huggingface.co/docs/hub/jobs-pricing (commit 0b8c07f of huggingface/hub-docs, read 2026-11-29)"
PER_GET, PER_PUT = 0.0004 / 1_000, 0.005 / 1_000
"""US$ of a request to S3 Standard in us-east-1, GET, and PUT or LIST, as https://c3x.dev/blog/s3-request-fees-explained
repeats them (read 2026-11-29)."""
NAMES: Final = 1_000
"""The most names that S3 lists in an answer."""
LIST_SECONDS: Final = 0.1
"""An assumption: how long S3 takes for such an answer."""
GETS_PER_SECOND: Final = 5_500
"""What S3 answers for each prefix of a bucket, at least."""

RTX_3090, RTX_3090_GBS, T4_GBS = 7_710.08, 936.2, 320.0
"""timm's images a second for tf_efficientnetv2_b0 at 224 px in mixed precision on an RTX 3090, and how fast both GPUs
read their memories."""
VIEWS: Final = 1
SIDE, TILE_SIDE = 224, 128
"""Pixels of the network's input for skin and for tiles."""

FAILURES: Final = Failures(slow_share=0.05, slow_factor=2.0, deaths_per_hour=0.1, poisoned=1 / 100_000)
"""Assumptions: one core in twenty takes twice as long, a process dies every ten hours of its work, and one image in
100,000 kills the process that reads it."""


@dataclass(frozen=True)
class Rates:
    """What was measured, of a core whose neighbour is busy, too. Times in seconds, sizes in bytes.

    `image`: an image in parts. `spread`: the times of parts as shares of their median. `prepare`: to decode an image
    and to make the network's input of it. `alone`: how much longer an image takes alone. `start`: until a process has
    its network. `listing`: to list and plan an image. `slide`: a slide. `tiles`: those of a slide.
    """

    image: float
    spread: tuple[float, ...]
    prepare: float
    alone: float
    start: float
    listing: float
    image_bytes: float
    row_bytes: float
    slide: float
    tiles: float
    slide_bytes: float
    result_bytes: float

    @classmethod
    def of(cls, measured: dict[str, Any]) -> "Rates":
        """The rates in docs/scale.json."""
        cost, rates, slide = measured["overhead"], measured["rates"], measured["slides"]
        typical = median(cost["part_seconds"])
        area = (SLIDE_SIDE / slide["side"]) ** 2
        return cls(
            image=2 / median(measured["engines"]["images_per_second"]["two processes"]),
            spread=tuple(seconds / typical for seconds in cost["part_seconds"]),
            prepare=rates["prepare_seconds"],
            alone=rates["alone_seconds"] * cost["images_of_a_part"] / typical,
            start=rates["start_seconds"],
            listing=rates["list_seconds"] + rates["plan_seconds"],
            image_bytes=rates["bytes_of_an_image"],
            row_bytes=cost["bytes_of_a_row"],
            slide=area * slide["core_seconds"],
            tiles=area * slide["tiles"],
            slide_bytes=area * slide["bytes_of_slide"],
            result_bytes=area * slide["bytes_of_results"],
        )


@dataclass(frozen=True)
class Assumed:
    """What the command line may change: US$ of an hour, seconds of a listing of NAMES names, and the seed."""

    core_hour: float = CORE_HOUR
    gpu_hour: float = GPU_HOUR
    list_seconds: float = LIST_SECONDS
    seed: int = 0


@dataclass(frozen=True)
class Machine:
    """`unit`: seconds of one of its `workers` for an image or a slide. `limit`: what its speed depends on."""

    name: str
    workers: int
    hour: float
    unit: float
    limit: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--core-hour", type=float, default=CORE_HOUR, help="US$ of a core for an hour")
    parser.add_argument("--gpu-hour", type=float, default=GPU_HOUR, help="US$ of a GPU with four cores for an hour")
    parser.add_argument("--list-seconds", type=float, default=LIST_SECONDS, help="seconds to list 1,000 names")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the document whose tables are written")
    options = vars(parser.parse_args(arguments))
    out: Path = options.pop("out")
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = out.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    if not after:
        print(f"plan: {out} lacks the markers of the tables.", file=sys.stderr)
        return 1
    lines = "\n".join(page(measured, Assumed(**options)))
    out.write_text(f"{before}{START}\n{lines}\n{END}{after}", encoding="utf-8")
    return 0


def page(measured: dict[str, Any], assumed: Assumed) -> Iterator[str]:
    """The lines between the markers."""
    rates = Rates.of(measured)
    yield from _measured(measured, rates)
    yield ""
    yield from _plan(rates, assumed)
    yield ""
    yield from _retries(rates, assumed)


def gpu_images(side: int, views: int) -> float:
    """An estimate of the images a second that a T4 reads in float32.

    This network is limited by the memory. So the published rate is scaled by the bandwidths, halved because float32 has
    twice the bytes of mixed precision, and scaled by the area of the input.
    """
    return RTX_3090 * T4_GBS / RTX_3090_GBS / 2 * (SIDE / side) ** 2 / views


def machines(rates: Rates, assumed: Assumed, slides: bool) -> list[Machine]:
    """The machines of the plan, for images or for slides."""
    unit = rates.slide if slides else rates.image
    found = [Machine(f"{n:,} cores", n, n * assumed.core_hour, unit, "the cores") for n in CORES]
    if slides:
        slower = (rates.tiles / gpu_images(TILE_SIDE, 1), "the GPU (its cores were not estimated)")
    else:
        decoding = (rates.prepare / GPU_CORES, f"its {GPU_CORES} cores, which decode")
        slower = max((1 / gpu_images(SIDE, VIEWS), "the GPU"), decoding)
    return [*found, Machine("one T4 (estimate)", 1, assumed.gpu_hour, *slower)]


def listing(rates: Rates, assumed: Assumed, images: int) -> float:
    """Seconds until so many images of a store are listed and their parts are planned."""
    return images * rates.listing + images / NAMES * assumed.list_seconds


def run_of(machine: Machine, rates: Rates, seed: int, slides: bool, failures: Failures) -> Simulated:
    """The simulated run of all images, or of all slides. A slide kills no process, and all take the same time."""
    cluster = Cluster(machine.workers, rates.start, rates.alone, failures)
    if slides:
        return simulate([machine.unit] * SLIDES, replace(cluster, failures=replace(failures, poisoned=0.0)), seed)
    size = part_size(IMAGES)
    spread = np.random.default_rng(seed).choice(rates.spread, IMAGES // size)
    return simulate((size * machine.unit * spread).tolist(), cluster, seed, size)


def _measured(measured: dict[str, Any], rates: Rates) -> Iterator[str]:
    engines, cost, rest = measured["engines"], measured["overhead"], measured["rates"]
    when = sorted({part["when"] for part in measured.values()})
    names = sorted({part["processor"] for part in measured.values()})
    yield f"Measured on {' and '.join(when)} ({', '.join(names)}, two cores). Ratios are medians of rounds in which"
    yield "the candidates took turns, with the range:\n"
    yield "| measured | figure |"
    yield "| --- | --- |"
    yield f"| two actors of Ray beside two processes, images a second | {_range(engines['ray_to_local'])} |"
    yield f"| two processes beside twice one process with one core | {_range(engines['two_to_twice_one'])} |"
    yield f"| what parts of {PART} images cost beside one call without files | {cost['parts_of_32']:+.1%} |"
    yield f"| what one part of all images costs beside it | {cost['one_part']:+.1%} |"
    yield f"| skin images a second, on one core while the other rests | {PART / median(cost['part_seconds']):.1f} |"
    yield f"| skin images a second, on each of two busy cores | {1 / rates.image:.1f} |"
    yield f"| decoding and resizing a skin image | {1000 * rates.prepare:.0f} ms of a core |"
    yield f"| an image alone beside an image in a batch | × {rates.alone:.2f} |"
    yield f"| a process that replaces another has its network after | {rates.start:.1f} s |"
    yield f"| read by one core, four threads, from a web server on the loopback | {_read(rest):.0f} MB/s |"
    yield f"| a skin image, a row of it | {rates.image_bytes / 1e3:.0f} kB, {rates.row_bytes:.0f} bytes |"
    yield f"| to list and plan a million images, without the store's own time | {1e6 * rates.listing:.0f} s |"
    yield f"| to find a million images in local folders | {1e6 * rest['folder_seconds']:.0f} s |"
    yield f"| a slide with {rates.tiles:,.0f} tiles | {rates.slide:.0f} s of a core |"


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _read(rest: dict[str, Any]) -> float:
    return rest["fetched_bytes_per_second"] / 1e6


def _plan(rates: Rates, assumed: Assumed) -> Iterator[str]:
    first = listing(rates, assumed, IMAGES)
    requests = IMAGES * PER_GET + (IMAGES / NAMES + IMAGES / part_size(IMAGES)) * PER_PUT
    yield f"Prices: {PRICES}."
    yield f"A core costs ${assumed.core_hour:.3f} an hour, a T4 with {GPU_CORES} cores ${assumed.gpu_hour:.2f}."
    yield f"Hours begin with the listing, which takes {first / 60:.1f} minutes for a million images if S3 takes"
    yield f"{assumed.list_seconds} s for {NAMES:,} names. The requests to S3 Standard cost ${requests:.2f} more, at"
    yield "$0.0004 for 1,000 GETs and $0.005 for 1,000 PUTs or LISTs"
    yield "(https://c3x.dev/blog/s3-request-fees-explained, read 2026-11-29).\n"
    yield "| job | on | hours | with failures | work repeated | US$ | reads a second | MB/s | GB of rows | limited by |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for slides, job in ((False, f"{IMAGES:,} skin images"), (True, f"{SLIDES:,} slides")):
        count = SLIDES if slides else IMAGES
        size, row = (rates.slide_bytes, rates.result_bytes) if slides else (rates.image_bytes, rates.row_bytes)
        wait = 0.0 if slides else first
        for machine in machines(rates, assumed, slides):
            calm = run_of(machine, rates, assumed.seed, slides, Failures())
            rough = run_of(machine, rates, assumed.seed, slides, FAILURES)
            hours, worse = (wait + calm.seconds) / 3600, (wait + rough.seconds) / 3600
            speed = machine.workers / machine.unit
            reads = f"{speed:,.0f}" if speed > 10 else f"{speed:.3f}"
            yield (
                f"| {job} | {machine.name} | {hours:,.2f} | {worse:,.2f} | {rough.repeated:.1%} "
                f"| {worse * machine.hour:,.2f} | {reads} | {speed * size / 1e6:,.1f} | {count * row / 1e9:.2f} "
                f"| {_limits(machine, wait / 3600 / hours, 0.0 if slides else speed)} |"
            )


def _limits(machine: Machine, listed: float, gets: float) -> str:
    """What the speed depends on. `listed`: the share of the time that the listing takes."""
    found = [f"the listing ({listed:.0%} of the time)"] if listed > 0.1 else []
    if gets > GETS_PER_SECOND:
        found.append(f"S3's {GETS_PER_SECOND:,} GETs a second for each prefix")
    return ", ".join([*found, machine.limit])


def _retries(rates: Rates, assumed: Assumed) -> Iterator[str]:
    yield f"What failures cost: {IMAGES:,} skin images on {CORES[1]} cores, without the listing:\n"
    yield "| failures | hours | work repeated |"
    yield "| --- | --- | --- |"
    machine = machines(rates, assumed, slides=False)[1]
    scenarios = {
        "none": Failures(),
        "one core in twenty takes twice as long": Failures(slow_share=0.05, slow_factor=2.0),
        "a process dies every 10 hours of its work": Failures(deaths_per_hour=0.1),
        "a process dies every hour": Failures(deaths_per_hour=1.0),
        "a process dies every 6 minutes": Failures(deaths_per_hour=10.0),
        "one image in 100,000 kills its process": Failures(poisoned=1 / 100_000),
        "one image in 1,000 kills its process": Failures(poisoned=1 / 1_000),
        "those of the table above": FAILURES,
    }
    for name, failures in scenarios.items():
        found = run_of(machine, rates, assumed.seed, False, failures)
        yield f"| {name} | {found.seconds / 3600:.3f} | {found.repeated:.2%} |"


if __name__ == "__main__":
    sys.exit(main())
