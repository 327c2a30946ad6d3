"""Report from a clinic's scores and outcomes how accurate the model is there, and which threshold to set.

    python -m src.local skin scores.csv [--target-sensitivity 0.95] [--weights DIR|owner/repo@rev]

The table has the columns that `python -m src.score` writes, and a column `label` with the outcome of each case.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from src.command_line import runs_networks, sensitivity_argument
from src.models import checkpoints
from src.results.local_validation import TableRefused, as_text, parse_table, read_text, validate
from src.tasks import TASKS


@runs_networks("local")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 1 after an error, with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m src.local", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "table", type=Path, help="a CSV file with the columns p_malignant and label, and optionally group"
    )
    parser.add_argument(
        "--target-sensitivity",
        type=sensitivity_argument,
        default=0.95,
        metavar="S",
        help="the sensitivity that the threshold must have, between 0 and 1 (default: 0.95)",
    )
    parser.add_argument(
        "--weights",
        metavar="DIR|owner/repo@rev",
        help="the checkpoint whose default threshold is compared, as for src.score",
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
    default = checkpoint.config.vigil.default_threshold
    print(as_text(validate(cases, default, [options.target_sensitivity])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
