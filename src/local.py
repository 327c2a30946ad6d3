"""A clinic's own scores with known outcomes -> how well the model does there, and where to set its threshold.

    python -m src.local skin scores.csv [--target-sensitivity 0.95] [--weights DIR|owner/repo@rev]

The table is what `python -m src.score` writes, with a column `label` for the outcome of each case.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from src.command_line import sensitivity_argument
from src.models import checkpoints, engine
from src.results.local_validation import TableRefused, as_text, parse_table, read_text, validate
from src.tasks import TASKS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m src.local", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "table", type=Path, help="a CSV file with the columns p_malignant and label; group, if there is one"
    )
    parser.add_argument(
        "--target-sensitivity",
        type=sensitivity_argument,
        default=0.95,
        metavar="S",
        help="to keep, 0 to 1 (default: 0.95)",
    )
    parser.add_argument(
        "--weights", metavar="DIR|owner/repo@rev", help="as for src.score: whose default to compare with"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        checkpoint = (
            checkpoints.load(options.task, options.weights) if options.weights else checkpoints.find(options.task)
        )
        cases = parse_table(read_text(options.table), TASKS[options.task])
    except (checkpoints.CheckpointError, TableRefused) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except engine.EngineRefused as refusal:
        print(f"local: {refusal}", file=sys.stderr)
        return 2
    default = checkpoint.config.vigil.default_threshold
    print(as_text(validate(cases, default, [options.target_sensitivity])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
