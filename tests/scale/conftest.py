"""Runs of `python -m src.score --out` in processes of their own, which the tests kill.

They need the packages of requirements-scale.txt, and moto[server]. They take minutes. docs/SCALE.md says how to run
them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import synthetic_checkpoints
from tests.support.app import ROOT
from tests.support.scoring import picture

# Ray listens on 127.0.0.1 alone and sends no statistics, in this process and in those that it starts.
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", VIGIL_ENGINE="torch")

PATIENCE = float(os.environ.get("SCALE_PATIENCE", "600"))
"""How many seconds a run may take."""
Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "breastmnist")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """119 images, and one that is broken."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(119):
        picture(folder / f"{number:03}.png", number, side=40)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, images: Path) -> Path:
    """The folder of a run in one process that nothing disturbs."""
    out = tmp_path_factory.mktemp("plain") / "out"
    run = start(checkpoint, images, "--out", out, "--workers", 1)
    assert ended(run) == 1
    return out


@pytest.fixture
def command(checkpoint: Path) -> Iterator[Command]:
    """Starts a run with these arguments. What still runs after the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> "subprocess.Popen[str]":
        started.append(start(checkpoint, *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def start(checkpoint: Path, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "src.score", "breastmnist", "--weights", str(checkpoint), "--part-size", "4"]
    command += map(str, arguments)  # the last --part-size counts
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(run: "subprocess.Popen[str]") -> int:
    """The exit status of a run that ends."""
    _, printed = run.communicate(timeout=PATIENCE)
    print(printed)
    return run.returncode


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def descendants(pid: int, name: str) -> list[int]:
    """The processes below a process whose command line contains `name`."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found, level = list[int](), {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += level
    return [child for child in found if name in _command_line(child)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
