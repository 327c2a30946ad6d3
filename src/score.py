"""Pictures -> CSV: `python -m src.score TASK PATH... [--weights DIR|owner/repo@rev] [--threshold T] [--csv FILE]`.

`--target-sensitivity S` in place of `--threshold` takes the threshold that validation promises S for, or refuses.
`--mpp M` states the micrometres per pixel of the pictures.

Writes rows and counts failures; `src.pictures.folder` finds the pictures, the Predictor reads them, and
`src.models.checkpoints` finds the weights.
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from tqdm import tqdm

from src.command_line import sensitivity_argument, threshold_argument
from src.exports.csv_rows import columns, row
from src.exports.spreadsheet import Writer
from src.models import checkpoints
from src.models.evaluation import MALIGNANT
from src.models.predictor import Predictor
from src.pictures import folder
from src.pictures.archive import printable
from src.pictures.picture import ImageRefused
from src.results.thresholds import operating_point, validation_promise
from src.service.arguments import ArgumentRefused, mpp_of
from src.tasks import TASKS

MAX_NAMED = 20
"""Files that are left out for one reason and named."""

EPILOG = """\
Standard error says what the threshold costs where the model was measured, with 95% intervals.

A folder is searched with its subfolders (hidden ones too, links to folders not) for pictures, in the order of their
names; a file named twice is read once. The first bytes of a file say whether it is a picture, not its suffix. A file
that is named as a picture or is one and cannot be read, a path that does not exist and a folder without a picture each
get a row with "error" filled, and the run goes on. Standard error names the other files of a folder, which are no
failure; the files that macOS and Windows keep there (._*, .DS_Store, Thumbs.db, __MACOSX) are passed over.

A spreadsheet takes a text that begins with =, + or - or @ for a formula: a path that does is written with ./ before it,
which names the same file. Where one of them follows a comma, a semicolon, a bar, a tab, a quote or a line break in a
path, an apostrophe is written before it, which src.exports.spreadsheet.restored takes away. Bytes of a path that are
not UTF-8 are written as \\udcXX. Every cell is quoted.

Exit status: 0 if every picture was read; 1 if any failed, or the weights or the CSV file could not be used; 2 for a
wrong argument; 130 if interrupted (the rows written so far are whole).

Research and education only, not a diagnosis.
"""


def score(
    predictor: Predictor, entries: Sequence[tuple[str, str | None]], threshold: float, mpp: float | None = None
) -> Iterator[dict[str, str]]:
    """A CSV row for each entry that `folder.find` returns, in order; pictures are read as the rows are taken. `mpp`:
    micrometres per pixel, None where the files are to say it."""
    answers = predictor.predict_many((path for path, error in entries if error is None), mpp=mpp)
    for path, error in entries:
        answer = error or next(answers)
        yield row(predictor.task, path, str(answer) if isinstance(answer, ImageRefused) else answer, threshold)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        mpp = mpp_of(options.mpp, TASKS[options.task])
    except ArgumentRefused as refusal:
        parser.error(f"--mpp: {refusal}")
    # What goes wrong is said here in one sentence, without the log's traceback.
    logging.basicConfig(level=logging.ERROR)
    try:
        if options.weights is None:
            checkpoint = checkpoints.find(options.task)
        else:
            checkpoint = checkpoints.load(options.task, options.weights)
    except checkpoints.CheckpointError as error:
        return _failed(str(error))
    if checkpoint.problem:
        print(f"score: {checkpoint.problem}", file=sys.stderr)
    task = TASKS[options.task]
    try:
        threshold = _threshold_of(checkpoint, options.threshold, options.target_sensitivity)
    except NotPromised as refusal:
        return _failed(str(refusal))
    print(f"score: {_costs(checkpoint, threshold)}", file=sys.stderr)

    found = folder.find(options.paths)
    entries = found.entries
    failed = written = 0
    try:
        with _output(options.csv) as out:
            writer = Writer(out, columns(task))
            rows = score(Predictor(checkpoint), entries, threshold, mpp)
            # No bar between the rows where both would stand on one terminal.
            clash = options.csv is None and sys.stdout.isatty()
            for line in tqdm(rows, total=len(entries), desc=task.name, unit="image", disable=clash):
                writer.write(line)
                written += 1
                failed += "error" in line
    except KeyboardInterrupt:
        print(f"score: interrupted; {written} of {len(entries)} rows are written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1  # whoever read standard output has seen enough
    except OSError as error:
        return _failed(f"{options.csv or 'standard output'} cannot be written: {error.strerror}.")
    for sentence in _left_out(found.left_out):
        print(f"score: {sentence}", file=sys.stderr)
    if failed:
        print(f"score: {failed} of {len(entries)} failed; the column error says why.", file=sys.stderr)
    return 1 if failed else 0


def _left_out(files: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each reason why files of a folder are not read, with their count and the first names."""
    for reason in sorted({reason for _, reason in files}):
        names = [printable(path) for path, why in files if why == reason]
        listed = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
        yield f"left out {len(names):,} ({listed}): {reason}"


class NotPromised(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """A sensitivity that validation cannot promise; the message says why in one sentence."""


def _threshold_of(checkpoint: checkpoints.Checkpoint, threshold: float | None, target: float | None) -> float:
    """The threshold asked for, by its value or by the sensitivity it must have; else the checkpoint's own."""
    if target is None:
        return checkpoint.config.vigil.default_threshold if threshold is None else threshold
    group, promise = TASKS[checkpoint.config.vigil.task].group, validation_promise(checkpoint.evaluation, target)
    if promise is None:
        raise NotPromised(f"No sensitivity can be promised: evaluation.json does not count validation by {group}.")
    if promise.threshold is None:
        raise NotPromised(
            f"A sensitivity of {target:g} cannot be promised: validation's {promise.positives} malignant {group}s "
            f"prove {promise.provable:.3f} at most, and it takes {promise.needed} without a miss."
        )
    return promise.threshold


def _costs(checkpoint: checkpoints.Checkpoint, threshold: float) -> str:
    """The operating point at this threshold wherever the model was measured, in one line."""
    costs = [f"threshold {threshold:g}"]
    for one in checkpoint.evaluation.held_out:
        point = operating_point(one.tables[MALIGNANT], threshold)
        shares = (
            f"{name} " + ("unknown" if math.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})")
            for name, value, (low, high) in (
                ("sensitivity", point.sensitivity, point.sensitivity_interval),
                ("specificity", point.specificity, point.specificity_interval),
            )
        )
        costs.append(f"{'away, ' if one.kind == 'away' else ''}{one.title}: {', '.join(shares)}")
    return "; ".join(costs if checkpoint.evaluation.held_out else [*costs, "not evaluated"]) + "."


def _output(file: str | None) -> AbstractContextManager[TextIO]:
    # Line by line, so that what stands there is whole rows at any time. Standard output is opened anew because its
    # encoding and line ends are the terminal's.
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
        description="Read pictures with the model of a task and write a CSV row for each.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder of pictures")
    parser.add_argument(
        "--weights",
        metavar="DIR|owner/repo@rev",
        help="a checkpoint folder or a Hub repository, used or refused (default: as on the page, VIGIL_WEIGHTS_TASK, "
        "VIGIL_WEIGHTS_OWNER or the embedded one)",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold",
        type=threshold_argument,
        metavar="T",
        help="refer where p_malignant >= T, from 0 to 1 (default: the checkpoint's)",
    )
    chosen.add_argument(
        "--target-sensitivity",
        type=sensitivity_argument,
        metavar="S",
        help="choose the highest threshold whose sensitivity is at least S, between 0 and 1, with 95%% confidence by "
        "the checkpoint's validation split; refused where that has too few cases",
    )
    parser.add_argument(
        "--mpp",
        type=float,
        metavar="M",
        help="micrometres per pixel of the pictures, for a task with a physical scale (default: as each file says; "
        "where it does not, the picture is taken for one tile)",
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="where to write, replacing what is there (default: standard output)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
