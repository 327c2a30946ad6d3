"""Print the datasets in a folder, their splits, and any group that crosses a split: python -m train.data --data DIR."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from src.tasks import TASKS
from train.data import READERS, SPLITS, DataMissing, leaks, split_hash


def main(arguments: list[str] | None = None) -> int:
    """Print one table per dataset. The exit status is 1 if a dataset is missing or a group crosses a split."""
    parser = argparse.ArgumentParser(prog="python -m train.data", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {', '.join(READERS)}")
    parser.add_argument("--task", choices=tuple(TASKS), help="only the datasets of this task")
    options = parser.parse_args(arguments)
    status = 0
    for task in [options.task] if options.task else TASKS:
        codes = TASKS[task].codes
        for source in (*TASKS[task].sources, *TASKS[task].external_sources):
            try:
                found = READERS[source](options.data / source)
            except DataMissing as missing:
                print(f"{source}: MISSING. {missing}\n")
                status = 1
                continue
            print(f"{source} ({task}): {len(found.samples):,} images, split {split_hash(found.samples)[:12]}")
            print(f"  {'':<11}{'images':>8}{'groups':>8}" + "".join(f"{code:>11}" for code in codes))
            for split in SPLITS:
                inside = [sample for sample in found.samples if sample.split == split]
                if not inside:
                    continue
                labels = Counter(sample.label for sample in inside)
                counts = "".join(f"{labels[label]:>11,}" for label in range(len(codes)))
                print(f"  {split:<11}{len(inside):>8,}{len({sample.group for sample in inside}):>8,}{counts}")
            for reason, count in sorted(Counter(found.dropped.values()).items()):
                print(f"  dropped: {count} × {reason}")
            for note in found.notes:
                print(f"  note: {note}")
            crossing = leaks(found.samples)
            if crossing:
                print(f"  LEAK: {len(crossing)} groups cross a split, first {crossing[0]}")
                status = 1
            else:
                print("  no group crosses a split")
            print()
    return status


if __name__ == "__main__":
    sys.exit(main())
