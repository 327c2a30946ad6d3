"""What an exported network takes on one core: bytes on the disk, memory, and images per second."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.networks import made_up
from src import export

FEW, MANY = 2, 18
"""Numbers of images. The difference of their times holds no start of the program."""

# Runs the program that sys.argv[1] names, then prints the most memory that it had, in kilobytes.
ON_ONE_CORE = """
import os, pathlib, runpy, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
status = pathlib.Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """Megabytes of the exported folder, megabytes of memory at most, seconds to the first answers, and images per
    second after that."""

    disk: float
    memory: float
    start: float
    rate: float


def cost(task: str, size: tuple[int, int]) -> Cost:
    """Export the network of `task` to ONNX and run the program that comes with it on JPEGs of `size` pixels.

    Raises RuntimeError if the export or the program fails. Memory and the limit to one core need Linux.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / f"{i}.jpg" for i in range(MANY)]
        for i, file in enumerate(files):
            made_up(*size, seed=i).save(file, quality=90)
        if export.main([task, "--out", str(folder / "network")]) != 0:
            raise RuntimeError(f"{task} was not exported.")
        program = folder / "network" / "predict.py"
        disk = sum(each.stat().st_size for each in program.parent.iterdir()) / 1e6
        few, _ = _run(program, files[:FEW])
        many, memory = _run(program, files)
    return Cost(disk, memory, few, (MANY - FEW) / (many - few))


def _run(program: Path, files: Sequence[Path]) -> tuple[float, float]:
    """Seconds and megabytes of the program on one core."""
    started = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", ON_ONE_CORE, program, *files], capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{program.name} failed: {ended.stderr[-500:]}")
    return time.perf_counter() - started, int(ended.stderr.split()[-1]) / 1e3
