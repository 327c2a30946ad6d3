"""`python -m benchmarks [--quick] [--out FILE]`: measure Vigil beside its peers, and write docs/BENCHMARKS.md.

All candidates of a table take turns within one run, so their ratios are right on a busy machine too.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import exported, networks, page, servers
from benchmarks.timing import Timing, interleaved, processor
from src.models.checkpoints import Checkpoint
from src.models.predictor import Predictor

PACKAGES = ("torch", "timm", "openvino", "onnxruntime", "gradio", "grad-cam", "numpy", "pillow")
EXACT = "OpenVINO float32"
BATCH = 32
"""The images of a batch, as in `score`."""
TASKS = {"skin": (600, 450), "histopathology": (96, 96)}
"""The tasks that are measured, with the width and height of their usual images."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes instead of fifteen")
    parser.add_argument("--out", type=Path, default=servers.ROOT / "docs" / "BENCHMARKS.md", help="file to write")
    options = parser.parse_args(arguments)
    seconds, counts = (2.0, (10, 100)) if options.quick else (12.0, (10, 100, 1_000, 10_000))
    lines: list[str] = []
    for line in _report(seconds, counts):
        print(line, flush=True)
        lines.append(line)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _report(seconds: float, counts: Sequence[int]) -> Iterator[str]:
    yield from _heading()
    for task, size in TASKS.items():
        checkpoint = networks.embedded(task)
        config = checkpoint.config
        views, side = config.vigil.test_time_augmentation, config.pretrained_cfg.input_size[1]
        yield f"\n## {task}: {config.architecture}, {side} px, views: {views}\n"
        yield "One image, one pass; the Predictor runs all views:\n"
        yield from _table(interleaved(networks.heat_maps(checkpoint), seconds), networks.EAGER)
        for batch in (1, 8, 32):
            yield f"\nA batch of {batch}, one pass:\n"
            yield from _table(interleaved(networks.engines(checkpoint, batch), seconds), networks.EAGER)
        yield from _score(size, checkpoint, counts, seconds)
    yield from _exported()
    yield from _served(seconds)


def _heading() -> Iterator[str]:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True)
    yield "# Benchmarks\n"
    yield "`python -m benchmarks` wrote this page. The candidates of a table take turns within one run. Each time is a"
    yield "median, with the fastest and slowest time in brackets. Expect similar ratios on other machines, and other"
    yield "milliseconds.\n"
    yield f"- {datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}"
    yield f"- {processor()}, {torch.get_num_threads()} threads, {platform.system()}"
    yield f"- Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    if torch.cuda.is_available():
        yield f"- GPU: {torch.cuda.get_device_name()}"


def _table(timings: dict[str, Timing], unit: str) -> Iterator[str]:
    yield f"| | milliseconds | × {unit} |"
    yield "| --- | --- | --- |"
    for name, timing in timings.items():
        yield f"| {name} | {timing.milliseconds()} | {timing.median / timings[unit].median:.2f} |"


def _score(size: tuple[int, int], checkpoint: Checkpoint, counts: Sequence[int], seconds: float) -> Iterator[str]:
    """The time of `score` for growing numbers of JPEGs, and beside the time that the engines alone need."""
    yield f"\n`python -m src.score` on JPEGs of {size[0]}×{size[1]} px, without its start:\n"
    yield "| images | seconds | images per second |"
    yield "| --- | --- | --- |"
    predictor = Predictor(checkpoint)
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.jpg" for i in range(64)]
        for i, file in enumerate(files):
            networks.made_up(*size, seed=i).save(file, quality=90)
        for count in counts:
            started = time.perf_counter()
            for _ in predictor.predict_many(files[i % len(files)] for i in range(count)):
                pass
            taken.append(time.perf_counter() - started)
            yield f"| {count:,} | {taken[-1]:.2f} | {count / taken[-1]:.1f} |"
    slope = (taken[-1] - taken[-2]) / (counts[-1] - counts[-2])
    yield f"\nEach further image costs {1e3 * slope:.1f} ms.\n"
    yield from _score_beside_engines(checkpoint, size, predictor, seconds)


def _score_beside_engines(
    checkpoint: Checkpoint, size: tuple[int, int], predictor: Predictor, seconds: float
) -> Iterator[str]:
    """The time of `score` per image beside that of the engines alone, which take turns with it."""
    views = max(1, len(predictor._views(torch.zeros(1, *checkpoint.config.pretrained_cfg.input_size))))
    engines = networks.engines(checkpoint, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.jpg" for i in range(4 * BATCH)]
        for i, file in enumerate(files):
            networks.made_up(*size, seed=i).save(file, quality=90)
        timings = interleaved(
            {
                "score": lambda: list(predictor.predict_many(files)),
                **{name: partial(_views_of, engines[name], views) for name in (networks.EAGER, EXACT)},
            },
            seconds,
        )
    score, eager, exact = (timings["score"].median / 4, timings[networks.EAGER].median, timings[EXACT].median)
    yield f"In turns, per image: `score` {1e3 * score / BATCH:.1f} ms. Views: {views}. In batches of {BATCH}, they cost"
    yield f"eager PyTorch {1e3 * eager / BATCH:.1f} ms and OpenVINO {1e3 * exact / BATCH:.1f} ms. So `score` is"
    yield f"{eager / score:.2f} × as fast as eager PyTorch, and {exact / score:.2f} × as fast as the bare engine,"
    yield "decoding included."


def _views_of(engine: Callable[[], object], views: int) -> None:
    for _ in range(views):
        engine()


def _exported() -> Iterator[str]:
    """What the exported networks take on one core."""
    yield "\n## Exported networks, on one core\n"
    yield "`python -m src.export` writes ONNX and a program that runs it without PyTorch. One view of each image:\n"
    yield "| task | MB on the disk | MB of memory | seconds to the first answers | images per second |"
    yield "| --- | --- | --- | --- | --- |"
    for task, size in TASKS.items():
        cost = exported.cost(task, size)
        yield f"| {task} | {cost.disk:.0f} | {cost.memory:.0f} | {cost.start:.1f} | {cost.rate:.1f} |"


def _served(seconds: float) -> Iterator[str]:
    """The start, the memory and the round trips of the app, beside those of an empty Gradio app."""
    yield "\n## The app\n"
    image = sorted((servers.ROOT / "examples" / "skin").iterdir())[0]
    importing = servers.imports()
    with servers.vigil() as app:
        ours = servers.Client(app)
        ours.answer("skin", image, [0.5, "Grad-CAM"])
        first = time.perf_counter() - app.started
        with servers.empty() as blank:
            theirs = servers.Client(blank)
            timings = interleaved(
                {
                    networks.EAGER: networks.eager(networks.embedded("skin")),
                    "an empty Gradio app": lambda: theirs.answer("skin", image),
                    "Vigil, no heat map": lambda: ours.answer("skin", image, [0.5, "none"]),
                    "Vigil, Grad-CAM": lambda: ours.answer("skin", image, [0.5, "Grad-CAM"]),
                },
                seconds,
            )
            yield "One image through the API:\n"
            yield from _table(timings, "an empty Gradio app")
            beyond = timings["Vigil, Grad-CAM"].median - timings["an empty Gradio app"].median
            yield f"\nBeyond the empty app, an image with its Grad-CAM takes {1e3 * beyond:.1f} ms:"
            yield f"{beyond / timings[networks.EAGER].median:.2f} × one pass of eager PyTorch."
            yield "\n| clients at once | answers per second |"
            yield "| --- | --- |"
            for clients in (1, 4, 16):
                rate = servers.answers_per_second(app, "skin", image, [0.5, "Grad-CAM"], clients, 2 * clients + 8)
                yield f"| {clients} | {rate:.1f} |"
            ours_mb, theirs_mb = app.memory(), blank.memory()
            yield f"\nMemory after that, of all processes: {ours_mb:,.0f} MB; the empty app: {theirs_mb:,.0f} MB."
            yield f"From the start to the first answer: {first:.1f} s."
            yield f"Importing gradio, torch and timm: {importing:.1f} s."
            yield from _in_a_browser(app.url, blank.url)


def _in_a_browser(ours: str, theirs: str, rounds: int = 7) -> Iterator[str]:
    """How soon the page of the app can be used, beside that of an empty Gradio app, and the bytes that it takes."""
    pages = {"an empty Gradio app": theirs, "Vigil": ours}
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in pages}
    with page.chromium() as browser:
        for url in pages.values():
            page.opened(browser, url)  # warms up
        for _ in range(rounds):
            for name, url in pages.items():
                taken[name].append(page.opened(browser, url))
        sent, unpacked = page.weight(browser, ours)
    for at, what in enumerate(("The first paint in Chromium", "The page takes an image", "Gradio has drawn the page")):
        yield f"\n{what}:\n"
        timings = {name: Timing.of([times[at] for times in rounds_of]) for name, rounds_of in taken.items()}
        yield from _table(timings, "an empty Gradio app")
    yield f"\nThe page with its configuration and scripts: {sent / 1e3:,.0f} kB sent, {unpacked / 1e3:,.0f} kB"
    yield "unpacked."


if __name__ == "__main__":
    sys.exit(main())
