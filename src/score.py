"""Images to CSV: `python -m src.score TASK PATH... [--weights DIR|owner/repo@rev] [--threshold T] [--csv FILE]`.

With `--target-sensitivity S` in place of `--threshold`, the threshold is the one at which validation promises the
sensitivity S. `--mpp M` states the micrometres per pixel of the images. `--fast` computes in bfloat16. `--dicom DIR`
writes a DICOM report on each DICOM file, and `--stow URL` stores these reports in an archive. A PATH may be a study in
an archive, dicomweb://HOST/PATH/studies/UID. With `--out DIR`, the rows are Parquet files in a folder, and the run can
be spread over processes and machines (docs/SCALE.md).

This module writes the rows and counts the failures. `src.sources` finds the images, the Predictor reads them, and
`src.models.checkpoints` finds the weights. `src.scale` does all this for a run with `--out`.
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from src import sources
from src.command_line import (
    NotPromised,
    operating_points,
    runs_networks,
    sensitivity_argument,
    store,
    threshold_argument,
    threshold_of,
)
from src.exports.csv_rows import columns, row
from src.exports.spreadsheet import Writer
from src.models import checkpoints
from src.models.predictor import ImageSource, Predictor
from src.pictures.archive import printable
from src.pictures.picture import ImageRefused
from src.scale import addresses, run
from src.scale import arguments as scale_arguments
from src.scale.inputs import find as find_inputs
from src.service.arguments import ArgumentRefused, mpp_of
from src.tasks import TASKS

if TYPE_CHECKING:
    from src.exports.dicom_folder import DicomFolder

COMPARED = 64
"""The most images on which --fast is compared with float32."""
MAX_NAMED = 20
"""The most files that are named for each reason why files are left out."""

EPILOG = """\
Standard error reports the sensitivity and specificity at this threshold, with 95% intervals, on each set on which the
model was evaluated.

A folder is searched for images with its subfolders, also hidden ones, in the order of the names. Links to folders are
not followed. A file that is named twice is read once. The first bytes of a file decide whether it is an image, not its
suffix. Each of these gets a row with "error" filled: a path that does not exist, a folder without an image, and a file
that is an image, or has the suffix of one, and cannot be read. The run then continues. Standard error names the other
files of a folder, which do not count as failures. Files that macOS and Windows add to a folder (._*, .DS_Store,
Thumbs.db, __MACOSX) are skipped.

A spreadsheet reads a text as a formula if it begins with =, +, - or @. Such a path is written with ./ in front, which
names the same file. If one of these characters follows a comma, a semicolon, a bar, a tab, a quote or a line break in a
path, an apostrophe is written before it; src.exports.spreadsheet.restored removes it. Bytes of a path that are not
UTF-8 are written as \\udcXX. Every cell is quoted.

Exit status: 0 if every image was read; 1 if any image or report failed, or if the weights or the CSV file could not be
used; 2 for a wrong argument or a wrong VIGIL_ENGINE; 130 if interrupted (the rows that were written are complete).

Research and education only, not a diagnosis.
"""


def score(
    predictor: Predictor,
    entries: Sequence[tuple[str, str | None]],
    threshold: float,
    mpp: float | None = None,
    reports: "DicomFolder | None" = None,
    names: Mapping[str, str] | None = None,
    frames: bool = False,
) -> Iterator[dict[str, str]]:
    """A CSV row for each entry that `sources.find` returns, in order. An image is read when its row is requested.

    `mpp`: the scale of all images in micrometres per pixel; None means the scale that each file states. `reports`: the
    folder for DICOM reports. `names`: what to write for a path in place of it. `frames`: whether each frame of a
    cine gets a row, with its number from 1 as in FILE#2.
    """
    if frames:
        yield from _frames(predictor, entries, threshold, mpp, names or {})
        return
    paths = (path for path, error in entries if error is None)
    answers = predictor.predict_many(paths, mpp=mpp) if reports is None else reports.read(paths)
    for path, error in entries:
        answer = error or next(answers)
        name = (names or {}).get(path, path)
        yield row(predictor.task, name, str(answer) if isinstance(answer, ImageRefused) else answer, threshold)


def _frames(
    predictor: Predictor,
    entries: Sequence[tuple[str, str | None]],
    threshold: float,
    mpp: float | None,
    names: Mapping[str, str],
) -> Iterator[dict[str, str]]:
    for path, error in entries:
        name = names.get(path, path)
        if error is not None:
            yield row(predictor.task, name, error, threshold)
            continue
        try:
            for number, answer in enumerate(predictor.predict_frames(path, mpp), 1):
                found = str(answer) if isinstance(answer, ImageRefused) else answer
                yield row(predictor.task, f"{name}#{number}", found, threshold)
        except ImageRefused as refusal:
            yield row(predictor.task, name, str(refusal), threshold)


@runs_networks("score")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    scale_arguments.check(parser, options)
    if options.stow is not None and options.dicom is None:
        parser.error("--stow needs --dicom")
    if options.frames and options.dicom is not None:
        parser.error("--dicom reports a cine by one frame, so it excludes --frames")
    try:
        mpp = mpp_of(options.mpp, TASKS[options.task])
    except ArgumentRefused as refusal:
        parser.error(f"--mpp: {refusal}")
    # An error is reported in one sentence, without the traceback of the log.
    logging.basicConfig(level=logging.ERROR)
    try:
        if options.weights is None:
            checkpoint = checkpoints.find(options.task)
        else:
            checkpoint = checkpoints.load(options.task, options.weights)
        predictor = None
        if options.out is None:  # with --out, other processes have a predictor each
            predictor = Predictor(checkpoint, precision="bfloat16" if options.fast else "float32")
    except checkpoints.CheckpointError as error:
        return _failed(str(error))
    if checkpoint.problem:
        print(f"score: {checkpoint.problem}", file=sys.stderr)
    try:
        threshold = threshold_of(checkpoint, options.threshold, options.target_sensitivity)
    except NotPromised as refusal:
        return _failed(str(refusal))
    print(f"score: {operating_points(checkpoint, threshold)}", file=sys.stderr)

    try:
        if predictor is None:
            return _scale(options, checkpoint, threshold, mpp)
        with TemporaryDirectory() as fetched:
            return _run(options, predictor, threshold, mpp, Path(fetched))
    except KeyboardInterrupt:
        print("score: interrupted while images were looked for or reports were stored.", file=sys.stderr)
        return 130


def _scale(options: argparse.Namespace, checkpoint: checkpoints.Checkpoint, threshold: float, mpp: float | None) -> int:
    """Read the images in other processes, and write the rows into parts. Returns the exit status."""
    try:
        inputs = find_inputs(options.paths)
        if options.fast:
            _compare(checkpoint, [image.source for image in inputs.images if image.error is None], threshold)
        if inputs.repeats:
            print(f"score: {inputs.repeats:,} images are named more than once and read once.", file=sys.stderr)
        for sentence in _left_out(inputs.left_out):
            print(f"score: {sentence}", file=sys.stderr)
        model = run.Model(
            checkpoint,
            options.weights,
            threshold,
            mpp,
            "bfloat16" if options.fast else "float32",
            options.device or "cpu",
        )
        return run.score(model, inputs, scale_arguments.settings(options))
    except (addresses.ScaleError, addresses.StoreError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or addresses.name(options.out)} cannot be used: {error.strerror or 'error'}.")


def _run(options: argparse.Namespace, predictor: Predictor, threshold: float, mpp: float | None, fetched: Path) -> int:
    """Read the images and write the rows; returns the exit status. Images of an archive are kept in `fetched`."""
    task = predictor.task
    found = sources.find(options.paths, fetched)
    entries = found.entries
    if options.fast:
        _compare(predictor.checkpoint, [path for path, error in entries if error is None], threshold)
    reports = _dicom_folder(options.dicom, predictor, threshold, mpp)
    failed = written = 0
    try:
        with _output(options.csv) as out:
            writer = Writer(out, columns(task))
            rows = score(predictor, entries, threshold, mpp, reports, found.names, options.frames)
            # There is no progress bar if the rows go to the same terminal.
            same_terminal = options.csv is None and sys.stdout.isatty()
            total = None if options.frames else len(entries)
            for line in tqdm(rows, total=total, desc=task.name, unit="image", disable=same_terminal):
                # Counted first, because an interrupt during the writing comes into effect after it.
                written += 1
                writer.write(line)
                failed += "error" in line
    except KeyboardInterrupt:
        print(f"score: interrupted; {written} of {total or 'the'} rows are written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1  # the program that read standard output has ended
    except OSError as error:
        return _failed(f"{error.filename or options.csv or 'standard output'} cannot be written: {error.strerror}.")
    for sentence in _left_out(found.left_out):
        print(f"score: {sentence}", file=sys.stderr)
    if failed:
        print(f"score: {failed} of {written} failed; the column error says why.", file=sys.stderr)
    if reports is not None:
        for sentence in reports.summary():
            print(f"score: {sentence}", file=sys.stderr)
        for path, reason in reports.refused:
            print(f"score: no report on {printable(found.names.get(path, path))}: {reason}", file=sys.stderr)
        failed += len(reports.refused)
        if options.stow is not None:
            failed += store("score", options.stow, reports.written)
    return 1 if failed else 0


def _dicom_folder(
    folder: str | None, predictor: Predictor, threshold: float, mpp: float | None
) -> "DicomFolder | None":
    """Where DICOM reports are written; None without `folder`."""
    if folder is None:
        return None
    # Imported here, because it takes a second.
    from src.exports.dicom_folder import DicomFolder

    return DicomFolder(Path(folder), predictor, threshold, mpp)


def _compare(checkpoint: checkpoints.Checkpoint, images: Sequence[ImageSource], threshold: float) -> None:
    """Print how far bfloat16 is from float32 on some of the given images, evenly spread over them."""
    some = images[:: math.ceil(len(images) / COMPARED)] if images else []
    fast, exact = Predictor(checkpoint, precision="bfloat16"), Predictor(checkpoint)
    pairs = [
        (one.p_malignant, other.p_malignant)
        for one, other in zip(fast.predict_many(some), exact.predict_many(some), strict=True)
        if not isinstance(one, ImageRefused) and not isinstance(other, ImageRefused)
    ]
    if not pairs:
        print("score: bfloat16 was not compared with float32, because no image could be read.", file=sys.stderr)
        return
    errors = [abs(p - q) for p, q in pairs]
    decided = sum((p >= threshold) != (q >= threshold) for p, q in pairs)
    print(
        f"score: bfloat16 differs from float32 on {len(pairs)} of the {len(images)} images: p_malignant by at most "
        f"{max(errors):.4f} and by {sum(errors) / len(errors):.4f} on average; {decided} decisions differ.",
        file=sys.stderr,
    )


def _left_out(files: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each reason why files of a folder are left out, with their number and the first names."""
    for reason in sorted({reason for _, reason in files}):
        names = [printable(path) for path, why in files if why == reason]
        listed = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
        yield f"{len(names):,} left out ({listed}): {reason}"


def _output(file: str | None) -> AbstractContextManager[TextIO]:
    # The output is written line by line, so that it only ever contains complete rows. Standard output is opened again,
    # because its encoding and its line ends may be those of the terminal.
    return open(
        sys.stdout.fileno() if file is None else file,
        "w",
        buffering=1,
        encoding="utf-8",
        errors="backslashreplace",
        newline="",
        closefd=file is not None,
    )


def _failed(sentence: str) -> int:
    print(f"score: {sentence}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.score",
        description="Read images with the model of a task and write a CSV row for each.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="an image, a folder of images, or a study in a DICOMweb archive: dicomweb://HOST/PATH/studies/UID",
    )
    parser.add_argument(
        "--weights",
        metavar="DIR|owner/repo@rev",
        help="a checkpoint folder or a Hub repository; the run ends if it cannot be used (default: as on the page, "
        "VIGIL_WEIGHTS_TASK, VIGIL_WEIGHTS_OWNER or the embedded checkpoint)",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold",
        type=threshold_argument,
        metavar="T",
        help="refer if p_malignant >= T, from 0 to 1 (default: the checkpoint's own)",
    )
    chosen.add_argument(
        "--target-sensitivity",
        type=sensitivity_argument,
        metavar="S",
        help="choose the highest threshold at which the checkpoint's validation split proves a sensitivity of at least "
        "S, between 0 and 1, with 95%% confidence; the run ends if the split has too few cases",
    )
    parser.add_argument(
        "--mpp",
        type=float,
        metavar="M",
        help="micrometres per pixel of the images, for a task with a physical scale (default: the scale that each file "
        "states; without one, the image is one tile)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="compute in bfloat16, which is less exact; standard error says how far p_malignant is from float32 on "
        f"up to {COMPARED} of the images",
    )
    parser.add_argument(
        "--frames",
        action="store_true",
        help="write a row for each frame of a file, FILE#1, FILE#2, … (default: one row for each file; of a cine, that "
        "of the frame with the highest p_malignant)",
    )
    parser.add_argument(
        "--dicom",
        metavar="DIR",
        help="write a DICOM structured report and the heat map (as a secondary capture) for each DICOM file into this "
        "folder; they name the patient, as the file does; the images are then read one by one, which takes longer",
    )
    parser.add_argument(
        "--stow",
        metavar="URL",
        help="with --dicom: store what was written in the DICOMweb archive at this address; VIGIL_DICOMWEB_TOKEN has "
        "the token that it asks for",
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="the file to write, which is replaced if it exists (default: standard output); with --out, it is written "
        "at the end of the run",
    )
    scale_arguments.add_to(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
