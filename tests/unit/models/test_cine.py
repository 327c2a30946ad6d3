"""A cine is read frame by frame, and the frame with the highest p(malignant) stands for it."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from src.models import cine
from src.pictures.decode import Film
from src.pictures.picture import Picture
from tests.support.dicom_files import of_frames


def greys(number: int, side: int = 64) -> list[Image.Image]:
    return [Image.new("L", (side, side), (37 * index) % 250) for index in range(number)]


def by_brightness(picture: Picture) -> Any:
    """p(malignant) is the brightness."""
    return SimpleNamespace(p_malignant=float(np.asarray(picture.image).mean()) / 255, gate=None)


@pytest.mark.parametrize(("number", "step"), [(2, 1), (64, 1), (65, 2), (200, 4)])
def test_the_highest_frame_stands_for_the_cine(number: int, step: int) -> None:
    film = Film(of_frames(greys(number), "MONOCHROME2", uid.RLELossless), "black")
    picture = cine.chosen(film, by_brightness)
    assert picture.cine is not None
    assert picture.cine.count == number
    assert picture.cine.read == tuple(range(0, number, step))
    assert len(picture.cine.read) <= cine.MOST_READ
    highest = max(picture.cine.read, key=lambda index: (37 * index) % 250)
    assert picture.cine.chosen == highest
    assert np.asarray(picture.image).mean() == (37 * highest) % 250
    read = "and all were read." if step == 1 else f"of which one in {step} was read, {len(picture.cine.read)} in all."
    assert picture.notes[0] == f"This is a cine of {number} frames, {read}"
    assert picture.notes[1].startswith(f"Frame {highest + 1} of the cine is reported")
    assert picture.cine.median == pytest.approx(np.median([(37 * i) % 250 / 255 for i in picture.cine.read]))


def test_frames_that_the_gate_rejects_do_not_stand_for_the_cine() -> None:
    film = Film(of_frames(greys(5), "MONOCHROME2", uid.ExplicitVRLittleEndian), "black")

    def only_dark(picture: Picture) -> Any:
        answer = by_brightness(picture)
        return SimpleNamespace(p_malignant=answer.p_malignant, gate=SimpleNamespace(accepted=answer.p_malignant < 0.2))

    picture = cine.chosen(film, only_dark)
    assert picture.cine is not None
    assert picture.cine.chosen == 1


@pytest.mark.parametrize(("wanted", "expected"), [(2, 2), (3, 3), (4, 4), (5, 4), (None, 4)])
def test_another_frame_can_be_chosen(wanted: int | None, expected: int) -> None:
    film = Film(of_frames(greys(5), "MONOCHROME2", uid.ExplicitVRLittleEndian), "black")
    picture = cine.chosen(film, by_brightness, wanted)
    assert picture.cine is not None
    assert picture.cine.chosen == expected
    assert np.asarray(picture.image).mean() == 37 * expected
    assert ("because you chose it" in picture.notes[1]) == (wanted == expected)


def test_a_single_image_is_no_cine() -> None:
    film = Film(of_frames(greys(1), "MONOCHROME2", uid.ExplicitVRLittleEndian), "black")
    assert cine.chosen(film, by_brightness).cine is None


def test_a_long_cine_takes_the_memory_of_a_few_frames(tmp_path: Path) -> None:
    file = tmp_path / "cine.dcm"
    file.write_bytes(of_frames(greys(100, 240), "MONOCHROME2", uid.JPEGBaseline8Bit))
    Film(file, "black").picture()  # so that libraries have loaded what they keep
    data = file.read_bytes()  # reading from disk reserves as much as a file may have
    tracemalloc.start()
    try:
        cine.chosen(Film(data, "black"), by_brightness)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size + 100 * 3 * 240 * 240 / 4
