"""Reader processes: they are killed when they hang, die alone, and end with their parent."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from src.pictures.picture import ImageRefused
from src.slides import readers
from src.slides.readers import ReaderDied, ReaderLate, Readers
from tests.support.app import ROOT


def test_a_reader_that_dies_costs_one_region_and_three_end_the_slide(slide_file: Path) -> None:
    with closing(Readers(slide_file)) as opened:
        how = opened.about.reading(0.97)
        whole = opened.read(how, 0, 0, 64, 64)
        for _ in range(readers.MOST_DEATHS - 1):
            (pid,) = opened.pids()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ImageRefused):
                opened.read(how, 0, 0, 64, 64)
            assert (opened.read(how, 0, 0, 64, 64) == whole).all()
        (pid,) = opened.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ReaderDied):
            opened.read(how, 0, 0, 64, 64)
        with pytest.raises(ReaderDied):
            opened.read(how, 0, 0, 64, 64)


def test_a_reader_that_hangs_is_killed(slide_file: Path) -> None:
    with closing(Readers(slide_file, seconds=3)) as opened:
        (pid,) = opened.pids()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ReaderLate):
            opened.read(opened.about.reading(0.97), 0, 0, 64, 64)
        assert 2 < time.monotonic() - began < 6


def test_a_slide_that_takes_all_memory_is_refused(slide_file: Path) -> None:
    with closing(Readers(slide_file)) as opened, pytest.raises(ImageRefused):
        opened.read(opened.about.reading(0.243), 0, 0, 30_000, 30_000)


def test_a_reader_ends_with_its_parent(slide_file: Path) -> None:
    code = (
        "import pathlib, sys, time; from src.slides.readers import Readers; "
        "opened = Readers(pathlib.Path(sys.argv[1])); print(*opened.pids(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(slide_file)], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(50):
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("the reader is still there")
