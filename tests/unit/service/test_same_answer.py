"""One file has one answer: on the page, from the API, in a table of many images, from src.score and in training.

The answer is that of the reference: the same image as an 8-bit PNG in sRGB without transparency.
"""

import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from src import score
from src.service import batch
from src.service.model_loading import Models
from src.tasks import TASKS, Task
from tests.support import event_loop, synthetic_datasets
from tests.unit.pictures.test_colour import DISPLAY_P3, in_space
from tests.unit.pictures.test_decode import encoded
from tests.unit.pictures.test_formats import heic
from tests.unit.service.test_read_once import readers
from train.data import Sample

THRESHOLD = 0.3
ENCODING = 0.02
"""The most by which p may differ from that of the reference, because an encoder or a colour space loses detail."""
BATCHED = 1e-5
"""The most by which p may differ from reader to reader, because a batch rounds the last digits otherwise."""


def photograph() -> Image.Image:
    return Image.fromarray(synthetic_datasets.colour(np.random.default_rng(0), 1, 4, 120, 96))


def with_hole(image: Image.Image) -> bytes:
    """The left third is transparent, as at the edge of a slide."""
    rgba = image.convert("RGBA")
    rgba.paste((0, 0, 0, 0), (0, 0, image.width // 3, image.height))
    return encoded(rgba, "PNG")


def filled(image: Image.Image, task: Task) -> Image.Image:
    image = image.copy()
    image.paste(Image.new("RGB", (image.width // 3, image.height), task.background), (0, 0))
    return image


def hidden(image: Image.Image) -> bytes:
    rgba = image.convert("RGBA")
    rgba.putalpha(0)
    return encoded(rgba, "PNG")


def twelve_bits(image: Image.Image) -> bytes:
    values = np.rint(np.asarray(image) * (4095 / 255)).astype(np.uint16)
    return bytes(imagecodecs.png_encode(np.dstack((values, np.full(values.shape[:2], 65535, np.uint16)))))


def planes(image: Image.Image) -> bytes:
    values = np.moveaxis(np.asarray(image), 2, 0)
    stream = BytesIO()
    tifffile.imwrite(stream, values, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    return stream.getvalue()


FILES: Mapping[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "transparent parts": ("Transparent parts", with_hole),
    "alpha 0 everywhere": ("was ignored", hidden),
    "Display P3": (
        "converted to sRGB",
        lambda image: encoded(in_space(image, DISPLAY_P3), "PNG", icc_profile=DISPLAY_P3),
    ),
    "12 of 16 bits and alpha": ("12 bits used", twelve_bits),
    "OME-TIFF of three planes": ("three planes", planes),
    "HEIC": ("", heic),
}
"""Kind of file -> words of the note about it, and the file of an image."""


@pytest.fixture(scope="module")
def functions(all_models: Models) -> list[Callable[..., Any]]:
    return readers(all_models)


def by_page_and_api(
    functions: list[Callable[..., Any]], task: str, file: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of the tab's handler and of the endpoint."""
    image = {"path": str(file), "orig_name": file.name}
    (endpoint,) = (function for function in functions if function.__name__ == task)
    result, _ = event_loop.run(endpoint(image, THRESHOLD, "none"))
    shows: list[Any] = [function for function in functions if function.__name__ == "show"]
    (tab,) = (show.__self__ for show in shows if show.__self__.task.name == task)
    return event_loop.run(tab.answer(image, THRESHOLD, "none", "", "", None))[tab.controls.result], result


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("task", TASKS)
def test_every_reader_gives_the_answer_of_the_reference(
    task: str, kind: str, all_models: Models, functions: list[Callable[..., Any]], tmp_path: Path
) -> None:
    note, make = FILES[kind]
    predictor, image, file = all_models[task], photograph(), tmp_path / "picture.bin"
    file.write_bytes(make(image))
    twin = filled(image, TASKS[task]) if kind == "transparent parts" else image
    reference = predictor.predict(encoded(twin, "PNG")).p_malignant

    shown, answered = by_page_and_api(functions, task, file)
    assert shown["p_malignant"] == pytest.approx(reference, abs=ENCODING)
    assert answered["p_malignant"] == shown["p_malignant"]
    assert note in " ".join(answered["quality"])

    with zipfile.ZipFile(tmp_path / "ward.zip", "w") as packed:
        packed.write(file, "picture.bin")
    items = batch.items(all_models, [(str(tmp_path / "ward.zip"), "ward.zip"), (str(file), "picture.bin")])
    for row in batch.read_items(all_models, task, items, THRESHOLD):
        assert row.p_malignant == pytest.approx(shown["p_malignant"], abs=BATCHED)
        assert note in row.line["quality"]

    (line,) = score.score(predictor, [(str(file), None)], THRESHOLD)
    assert float(line["p_malignant"]) == pytest.approx(shown["p_malignant"], abs=BATCHED)
    assert note in line["quality"]

    for source in (*TASKS[task].sources, *TASKS[task].external_sources):
        learned = predictor.predict(Sample("picture", 0, "group", "train", source, file).picture())
        assert learned.p_malignant == pytest.approx(shown["p_malignant"], abs=BATCHED)
