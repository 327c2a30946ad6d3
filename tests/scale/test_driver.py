"""The driver is killed or interrupted, and the same command goes on."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from src.scale.run import verify
from tests.scale.conftest import Command, descendants, ended, until
from tests.support.app import ROOT
from tests.support.scale_runs import files


def test_a_killed_driver_goes_on_and_leaves_no_process(
    command: Command, images: Path, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for parts in (1, 8, 15):
        _killed(command(images, "--out", out, "--workers", 2), out, parts)
    assert ended(command(images, "--out", out, "--workers", 2)) == 1
    assert files(out) == files(plain)
    assert (out / "_manifest.json").read_bytes() == (plain / "_manifest.json").read_bytes()
    assert verify(str(out)) == 0


def _killed(run: "subprocess.Popen[str]", out: Path, parts: int) -> None:
    """Kill a run once so many parts are there, and wait until its processes have ended."""
    until(lambda: len(files(out)) >= parts or run.poll() is not None)
    below = descendants(run.pid, "python")
    run.send_signal(signal.SIGKILL)
    run.communicate()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    assert not (out / "_manifest.json").exists()


def test_ctrl_c_says_what_is_left(command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = command(images, "--out", out, "--workers", 2)
    until(lambda: files(out))
    # As a terminal does, the signal goes to the whole group; the processes that score must not print a traceback.
    for pid in [*descendants(run.pid, "python"), run.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    _, printed = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "parts with" in printed
    assert "are left. The same command continues the run." in printed
    assert "Traceback" not in printed
    assert ended(command(images, "--out", out, "--workers", 2)) == 1
    assert files(out) == files(plain)


def test_shards_at_the_same_time_are_the_run(command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shards = [command(images, "--out", out, "--workers", 1, "--shard", f"{number}/3") for number in (1, 2, 3)]
    for run in shards:
        assert ended(run) in (0, 1)
    assert files(out) == files(plain)
    verified = subprocess.run([sys.executable, "-m", "src.score", "--verify", str(out)], cwd=ROOT, check=False)
    assert verified.returncode == 0
