"""Coverage-guided fuzzing of what reads a visitor's file (tests/attack/fuzz_target.py), one process a target."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.support.app import ROOT

TARGETS: Final = ("images", "archives", "tables")
SECONDS, FEW_SECONDS = 300, 3


# libFuzzer limits the most memory that its process has had. Linux counts in the memory of the process that started it,
# which may have gigabytes after many tests. So a shell, which is small, starts it.
SHELL: Final = ("/bin/sh", "-c", '"$@"; exit $?', "sh")


def fuzz(name: str, folder: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    """Fuzz one target in a process of its own."""
    return subprocess.run(
        [*SHELL, sys.executable, "-m", "tests.attack.fuzz_target", name, str(folder), str(seconds)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=seconds + 300,
    )


def readers(bench: Bench) -> Iterator[Row]:
    """Each target in turn."""
    for name in TARGETS:
        folder = bench.folder / name
        folder.mkdir()
        seconds = FEW_SECONDS if bench.short else SECONDS
        done = fuzz(name, folder, seconds)
        runs = re.search(r"Done (\d+) runs", done.stderr)
        covered = re.findall(r"cov: (\d+)", done.stderr)
        found = "none" if done.returncode == 0 else done.stderr[-400:]
        yield Row(
            3,
            f"Inputs for {name} from a fuzzer that is guided by the branches they reach (atheris)",
            int(runs[1]) if runs else 0,
            f"In {seconds} s: {covered[0] if covered else 0} branches reached by well-formed files, "
            f"{covered[-1] if covered else 0} in the end; exceptions besides refusals, hangs, much memory: {found}.",
            done.returncode == 0 and runs is not None and int(runs[1]) > 0,
        )


CHECKS: Checks = {3: (readers,)}
