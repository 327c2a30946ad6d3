"""Whole slides to tile scores, heat map and hot spots: `python -m src.slide SLIDE... --out DIR`.

This module parses the command line and shows the progress. `src.slides.run` does the work.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tqdm import tqdm

from src.command_line import runs_networks, store, threshold_argument
from src.exports.spreadsheet import Writer
from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures.archive import printable
from src.pictures.picture import ImageRefused
from src.slides import files
from src.slides.report import SlideReport
from src.slides.run import Options, Progress, check, run
from src.tasks import TASKS

TASK: Final = next(task for task in TASKS.values() if task.mpp is not None)
"""The task whose networks learned tiles of a known scale."""
MOST_FAILED: Final = 0.01
"""The share of blocks that may fail without an exit status of 1."""
SLIDES: Final = "slides.csv"
COLUMNS: Final = ("path", "p_malignant", "highest", "area_mm2", "tissue_fraction", "tiles", "unlike_fraction", "error")

EPILOG = """\
Each slide gets a folder in DIR with the name of its file:

  tiles.parquet   x, y, width and height of each tile in pixels of level 0, p_malignant, and unlike: whether the gate
                  says that the tile does not look like the images that the network learned from
  slide.json      model, scale, tissue, highest and 99.9th percentile of p_malignant, hot area, hot spots
  heatmap.png     the scores over the slide, with hot spots, a scale bar and a legend
  tissue.png      where tissue was found
  spots.geojson   hot spots and areas above the threshold, for QuPath
  scores.sqlite   the scores block by block: a run that was interrupted continues where it was

DIR/slides.csv has a row for each slide. Its p_malignant is the 99.9th percentile of the tiles. It is no calibrated
probability, because the networks learned tiles; docs/SLIDES.md says how to calibrate it.

Exit status: 0 if every slide was read; 1 if any failed or more than 1% of its blocks could not be read, if a DICOM
object could not be written or stored, or if the weights could not be used; 2 for a wrong argument or a wrong
VIGIL_ENGINE; 130 if interrupted.

Research and education only, not a diagnosis.
"""


@runs_networks("slide")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.stow is not None and given.dicom is None:
        parser.error("--stow needs --dicom")
    logging.basicConfig(level=logging.ERROR)
    try:
        check(Options(0.0, given.stride, given.mpp), TASK.input_side)
    except ImageRefused as refusal:
        parser.error(str(refusal))
    try:
        if given.weights is None:
            checkpoint = checkpoints.find(TASK.name)
        else:
            checkpoint = checkpoints.load(TASK.name, given.weights)
    except checkpoints.CheckpointError as error:
        return _failed(str(error))
    if checkpoint.problem:
        print(f"slide: {checkpoint.problem}", file=sys.stderr)
    threshold = checkpoint.config.vigil.default_threshold if given.threshold is None else given.threshold
    options = Options(threshold, given.stride, given.mpp, given.all_tiles, given.all_views)
    predictor = Predictor(checkpoint)
    rows: list[dict[str, str]] = []
    objects: list[Path] = []
    status = 0
    try:
        for path in given.slides:
            folder = given.out / path.name
            try:
                found = _read(path, folder, predictor, options, given.csv)
            except ImageRefused as refusal:
                status = _failed(f"{printable(str(path))}: {refusal}")
                rows.append({"path": str(path), "error": str(refusal)})
            else:
                status = max(status, len(found.failed_blocks) > MOST_FAILED * found.blocks)
                rows.append(_row(path, found))
                if given.dicom is not None:
                    written = _dicom_objects(path, folder, given.dicom, found, checkpoint.config.vigil.sha256)
                    objects += written
                    status = max(status, not written)
            given.out.mkdir(parents=True, exist_ok=True)
            files.whole(given.out / SLIDES, lambda file: _write(file, rows))
        if given.dicom is not None:
            print(f"slide: {len(objects):,} DICOM objects are in {printable(str(given.dicom))}.", file=sys.stderr)
        if given.stow is not None:
            status = max(status, store("slide", given.stow, objects) > 0)
    except KeyboardInterrupt:
        print("slide: interrupted; the same command continues where it was.", file=sys.stderr)
        return 130
    except OSError as error:
        return _failed(f"{error.filename or given.out} cannot be written: {error.strerror or error}.")
    return status


def _read(path: Path, folder: Path, predictor: Predictor, options: Options, csv: bool) -> SlideReport:
    """Read one slide with a progress bar, and print what was found."""
    name = printable(path.name)
    with tqdm(desc=name, unit="tile", total=0) as bar:

        def show(done: int) -> None:
            bar.set_postfix_str(f"overview {done}%")

        def advance(count: int) -> None:
            bar.update(count)

        def begin(total: int, stored: int) -> None:
            bar.reset(total)
            bar.initial = stored
            bar.n = stored
            bar.set_postfix_str("")

        progress = Progress(show, begin, advance)
        found = run(path, folder, predictor, options, progress)
    if csv:
        files.write_csv(folder)
    for sentence in found.warnings:
        print(f"slide: {name}: {sentence}", file=sys.stderr)
    print(
        f"slide: {name}: {found.tiles:,} tiles, {found.area_mm2:.2f} of {found.tissue_mm2:.2f} mm² at or above "
        f"{found.threshold:g}; highest p_malignant {found.highest or 0:.3f}, 99.9th percentile "
        f"{found.high_quantile or 0:.3f}, not calibrated for slides.",
        file=sys.stderr,
    )
    return found


def _dicom_objects(path: Path, folder: Path, out: Path, found: SlideReport, weights: str) -> list[Path]:
    """Write the DICOM objects of a slide into `out`; none, with a sentence, where the slide does not say its study."""
    # Imported here, because it takes a second.
    from src.slides import dicom_objects

    try:
        return dicom_objects.write(path, folder, out, found, weights, with_identity=True)
    except ImageRefused as refusal:
        print(f"slide: no report on {printable(str(path))}: {refusal}", file=sys.stderr)
        return []


def _row(path: Path, found: SlideReport) -> dict[str, str]:
    numbers = {
        "p_malignant": found.high_quantile,
        "highest": found.highest,
        "area_mm2": found.area_mm2,
        "tissue_fraction": found.tissue_fraction,
        "unlike_fraction": found.unlike_fraction,
    }
    texts = {name: "" if value is None else f"{value:.6f}" for name, value in numbers.items()}
    return {"path": str(path), "tiles": str(found.tiles), **texts}


def _write(file: Path, rows: Sequence[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
        writer = Writer(out, COLUMNS)
        for row in rows:
            writer.write(row)


def _failed(sentence: str) -> int:
    print(f"slide: {sentence}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.slide",
        description="Read whole slides of lymph nodes in tiles.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("slides", nargs="+", type=Path, metavar="SLIDE", help="a slide that OpenSlide reads")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write into")
    parser.add_argument(
        "--mpp", type=float, metavar="M", help="micrometres per pixel of the slides (default: as each file says)"
    )
    parser.add_argument(
        "--stride",
        type=int,
        default=32,
        metavar="S",
        help=f"pixels of {TASK.mpp:g} µm between two tiles, 8 to {TASK.input_side} (default: 32, the part of a tile "
        f"that decides its label; {TASK.input_side} is nine times as fast and leaves eight ninths unjudged)",
    )
    parser.add_argument(
        "--threshold",
        type=threshold_argument,
        metavar="T",
        help="a tile is hot if p_malignant >= T, from 0 to 1 (default: the checkpoint's own)",
    )
    parser.add_argument("--weights", metavar="DIR|owner/repo@rev", help="as for src.score")
    parser.add_argument("--all-tiles", action="store_true", help="read the whole slide, not its tissue alone")
    parser.add_argument(
        "--all-views",
        action="store_true",
        help="read each tile in all views of the checkpoint, as src.score does; takes eight times as long",
    )
    parser.add_argument("--csv", action="store_true", help="write tiles.csv, too")
    parser.add_argument(
        "--dicom",
        type=Path,
        metavar="DIR",
        help="write a DICOM parametric map of the scores and a structured report for each slide into this folder; for "
        "a DICOM slide they name the patient, as the file does",
    )
    parser.add_argument(
        "--stow",
        metavar="URL",
        help="with --dicom: store what was written in the DICOMweb archive at this address; VIGIL_DICOMWEB_TOKEN has "
        "the token that it asks for",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
