"""Speed of `python -m src.score --out`: Ray beside processes, the cost of parts, and the rates of docs/SCALE.md's plan.

    python -m benchmarks.scale [--only engines overhead rates slides] [--rounds 3]

Writes docs/scale.json, which `python -m benchmarks.plan` turns into tables. Images are drawn, the weights are the
embedded ones of the skin task. Candidates take turns within one run. It needs the packages of requirements-scale.txt.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import fsspec

from benchmarks import slides
from benchmarks.networks import embedded, made_up
from benchmarks.servers import ROOT
from benchmarks.timing import Timing, interleaved, processor
from src.models import checkpoint_info, checkpoints, engine_choice
from src.models.predictor import Predictor
from src.scale import parts
from src.scale.images import Image
from src.scale.inputs import find
from src.scale.parts import Part
from src.scale.process import OTHER_SECONDS, ScoringProcess
from src.scale.worker import READERS, Job, Scorer, fingerprint

RESULTS: Final = ROOT / "docs" / "scale.json"
TASK: Final = "skin"
SIZE: Final = 600, 450
"""Pixels of an image, as in HAM10000."""
DISTINCT: Final = 64
PART: Final = 32
"""Images of a part: the fewest that Vigil chooses, so that the cost of parts is the highest."""
RUN_PARTS: Final = 10
COST_PARTS: Final = 4
LISTED: Final = 20_000
SLIDE_SIDE, SLIDE_STRIDE = 25_000, 32


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    measurements: dict[str, Callable[[int], dict[str, Any]]] = {
        "engines": engines,
        "overhead": overhead,
        "rates": rates,
        "slides": whole_slide,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=measurements, default=list(measurements), help="what is measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often the candidates take turns (default: 3)")
    options = parser.parse_args(arguments)
    kept: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in options.only:
        found = measurements[name](options.rounds)
        kept[name] = {"when": f"{datetime.now(UTC):%Y-%m-%d}", "processor": processor(), **found}
        print(json.dumps({name: kept[name]}), flush=True)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


def engines(rounds: int) -> dict[str, Any]:
    """Images a second of one process, of two, and of two actors of Ray, once their networks are loaded.

    One process has one core: its threads would read images on the other otherwise.
    """
    candidates = {"one process": ("local", 1), "two processes": ("local", 2), "two actors": ("ray", 2)}
    found: dict[str, list[float]] = {name: [] for name in candidates}
    cores = sorted(os.sched_getaffinity(0))
    with drawn(RUN_PARTS * PART) as folder:
        for _ in range(rounds):
            for name, (kind, workers) in candidates.items():
                os.sched_setaffinity(0, cores[:workers])
                found[name].append(_rate(folder, kind, workers))
                print(f"{name}: {found[name][-1]:.2f} images a second", flush=True)
    os.sched_setaffinity(0, cores)
    one, two, ray = found.values()
    return {
        "images_per_second": found,
        "ray_to_local": [theirs / ours for theirs, ours in zip(ray, two, strict=True)],
        "two_to_twice_one": [both / (2 * alone) for both, alone in zip(two, one, strict=True)],
    }


def _rate(folder: Path, kind: str, workers: int) -> float:
    """Images a second of a run, from the moment at which as many parts are written as there are workers."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "src.score", TASK, str(folder), "--out", out, "--engine", kind]
        command += ["--workers", str(workers), "--part-size", str(PART), "--weights", str(_weights())]
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        written = sorted(file.stat().st_mtime_ns for file in Path(out).glob(f"*{parts.SUFFIX}"))
    return PART * (len(written) - workers) / ((written[-1] - written[workers - 1]) / 1e9)


def overhead(rounds: int) -> dict[str, Any]:
    """What parts and their files cost beside the same rows from one call, on one core.

    All run in one process of their own. This process has threads on other cores.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    seconds: list[float] = []
    with drawn(COST_PARTS * PART) as folder, tempfile.TemporaryDirectory() as out:
        job = _job(out)
        inputs = find([str(folder)])
        _, small = parts.plan({"task": TASK}, inputs, PART)
        _, large = parts.plan({"task": TASK}, inputs, COST_PARTS * PART)
        process = ScoringProcess(job, "cpu")

        def in_parts(planned: Sequence[Part]) -> None:
            for part in planned:
                (Path(out) / part.name).unlink(missing_ok=True)
                began = time.perf_counter()
                process.score(part)
                if len(part.images) == PART:
                    seconds.append(time.perf_counter() - began)

        timings = interleaved(
            {
                "one call": lambda: process._ask("rows", (inputs.images,), OTHER_SECONDS),
                "parts of 32": lambda: in_parts(small),
                "one part": lambda: in_parts(large),
            },
            0,
            rounds,
        )
        process.close()
        size = sum((Path(out) / part.name).stat().st_size for part in small) / len(inputs.images)
    del seconds[:COST_PARTS]  # the first round warms up
    return {
        "seconds": {name: _as_list(timing) for name, timing in timings.items()},
        "parts_of_32": timings["parts of 32"].median / timings["one call"].median - 1,
        "one_part": timings["one part"].median / timings["one call"].median - 1,
        "part_seconds": seconds,
        "images_of_a_part": PART,
        "bytes_of_a_row": size,
    }


def rates(rounds: int) -> dict[str, Any]:
    """What the plan needs of one core besides the time of a part."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with drawn(PART) as folder, tempfile.TemporaryDirectory() as out:
        job, files = _job(out), sorted(folder.iterdir())
        images = [Image(str(file), str(file)) for file in files]
        scorer = Scorer(job, "cpu")
        predictor = Predictor(embedded(TASK))
        timings = interleaved(
            {
                "prepare": lambda: [predictor._prepare(file, None, True) for file in files],
                "alone": lambda: [scorer.rows([image]) for image in images],
            },
            0,
            rounds,
        )
        starts = [_start(job) for _ in range(rounds + 1)][1:]  # the first one starts the fork server
        size = sum(file.stat().st_size for file in files) / len(files)
        with _served(folder) as url:
            fetched = interleaved({"fetch": lambda: _fetch(url, files)}, 0, rounds)["fetch"].median
        listed, planned = zip(*(_listing() for _ in range(rounds)), strict=True)
        folder_seconds = median(_folder() for _ in range(rounds))
    return {
        "prepare_seconds": timings["prepare"].median / len(files),
        "alone_seconds": timings["alone"].median / len(files),
        "start_seconds": median(starts),
        "bytes_of_an_image": size,
        "fetched_bytes_per_second": 4 * size * len(files) / fetched,
        "list_seconds": median(listed) / LISTED,
        "plan_seconds": median(planned) / LISTED,
        "folder_seconds": folder_seconds / LISTED,
    }


def whole_slide(_: int) -> dict[str, Any]:
    """The tiles of a drawn slide, and the core's seconds that they take."""
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    predictor = Predictor(checkpoints.find("histopathology"))
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / f"pyramid of {SLIDE_SIDE:,}"
        slides.make(file, SLIDE_SIDE, slides.FACTORS)
        found = slides.measure(file, SLIDE_STRIDE, predictor, Path(made) / "out")
        print(found.line(), flush=True)
        results = sum(each.stat().st_size for each in (Path(made) / "out").rglob("*") if each.is_file())
        return {
            "side": SLIDE_SIDE,
            "stride": SLIDE_STRIDE,
            "tiles": found.tiles,
            "core_seconds": found.core_seconds,
            "bytes_of_slide": file.stat().st_size,
            "bytes_of_results": results,
        }


@contextmanager
def drawn(count: int) -> Iterator[Path]:
    """A folder with so many JPEGs, of which DISTINCT differ."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in range(count):
            file = folder / f"{number:05}.jpg"
            if number < DISTINCT:
                made_up(*SIZE, seed=number).save(file, quality=90)
            else:
                file.hardlink_to(folder / f"{number % DISTINCT:05}.jpg")
        yield folder


def _weights() -> Path:
    return checkpoint_info.EMBEDDED / TASK


def _job(out: str) -> Job:
    checkpoint = embedded(TASK)
    return Job(TASK, str(_weights()), fingerprint(checkpoint), 0.5, None, "float32", engine_choice.chosen(), "cpu", out)


def _as_list(timing: Timing) -> list[float]:
    return [timing.median, timing.fastest, timing.slowest]


def _start(job: Job) -> float:
    """Seconds until a process that replaces another has its network."""
    began = time.perf_counter()
    process = ScoringProcess(job, "cpu")
    process._connection()
    seconds = time.perf_counter() - began
    process.close()
    return seconds


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A web server for a folder on the loopback, on another core where there is one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(server.pid, set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0) or {0})
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _fetch(url: str, files: Sequence[Path]) -> None:
    """Fetch each file four times, in as many threads as a process reads with."""
    addresses = [f"{url}/{file.name}" for file in files] * 4
    with ThreadPoolExecutor(READERS) as threads:
        for content in threads.map(lambda address: Image(address, address).fetch(), addresses):
            assert content


def _listing() -> tuple[float, float]:
    """Seconds to list LISTED names of a store in memory, which answers at once, and to plan their parts."""
    store = fsspec.filesystem("memory")
    for number in range(LISTED):
        store.pipe_file(f"/listed/{number:05}.jpg", b"")
    began = time.perf_counter()
    inputs = find(["memory://listed"])
    found = time.perf_counter()
    parts.plan({"task": TASK}, inputs, None)
    planned = time.perf_counter()
    store.rm("/listed", recursive=True)
    return found - began, planned - found


def _folder() -> float:
    """Seconds to find LISTED images of a local folder, whose first bytes are read."""
    with tempfile.TemporaryDirectory() as made:
        first = Path(made) / "00000.jpg"
        made_up(*SIZE).save(first)
        for number in range(1, LISTED):
            (Path(made) / f"{number:05}.jpg").hardlink_to(first)
        began = time.perf_counter()
        find([made])
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
