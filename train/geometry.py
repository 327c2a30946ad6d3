"""Measure images of another geometry: another magnification, or two views side by side.

    python -m train.geometry checkpoints/histopathology ... --data DIR

The command measures on validation how often the check of magnification warns, and what two views side by side do to a
checkpoint. It writes the figures into evaluation.json and the card, leaves all other figures as they are, and runs
no network on a test image. `train.evaluate` measures the same beside everything else.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from src.command_line import runs_networks
from src.models.checkpoints import CheckpointError
from train.data import DataMissing
from train.evaluate import measure_geometry, open_run, round_figures, split_names, write_evaluation


def updated(folder: Path, data: Path) -> dict[str, Any]:
    """The content of evaluation.json of the checkpoint in `folder`, with its geometry measured anew.

    Raises CheckpointError for a folder that does not verify or was not evaluated, DataMissing for missing data.
    """
    vigil, predictor, samples = open_run(folder, data)
    file = folder / "evaluation.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no evaluation.json yet; python -m train.evaluate writes it.")
    content = json.loads(file.read_text(encoding="utf-8"))
    validation = split_names(samples, vigil["recipe"]["sources"])["validation"]
    content["splits"]["validation"] |= round_figures(
        measure_geometry(predictor, validation, vigil["default_threshold"])
    )
    return content


@runs_networks("geometry")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.geometry", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for folder in options.folders:
        try:
            content = updated(folder, options.data)
        except (CheckpointError, DataMissing) as error:
            print(error, file=sys.stderr)
            return 1
        write_evaluation(folder, content)
        validation = content["splits"]["validation"]
        measured = {name: validation[name] for name in ("magnification", "views") if name in validation}
        print(json.dumps({str(folder): measured}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
