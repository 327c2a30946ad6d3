"""src/pictures/scanned_field.py: the box of the scanned field of an ultrasound picture."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from src.pictures import scanned_field
from src.pictures.scanned_field import find
from src.tasks import TASKS
from tests.support.synthetic_datasets import speckle


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("margin", [0, 255])
def test_the_field_trims_margins_header_and_ticks(scale: int, margin: int) -> None:
    page = Image.new("RGB", (380, 300), (margin,) * 3)
    page.paste(speckle(240, 200), (70, 60))
    ink = (255 - margin,) * 3
    for x in range(20, 200, 12):
        page.paste(ink, (x, 8, x + 3, 20))  # a line of text
    for y in range(60, 260, 40):
        page.paste(ink, (340, y, 346, y + 2))  # depth ticks
    box = find(page.resize((380 * scale, 300 * scale), Image.Resampling.NEAREST))
    assert np.abs(np.array(box) - scale * np.array((70, 60, 310, 260))).max() <= 3 * scale


def test_the_field_keeps_all_where_unsure() -> None:
    assert find(speckle(300, 200)) == (0, 0, 300, 200)
    assert find(Image.new("RGB", (300, 200))) == (0, 0, 300, 200)
    small = Image.new("RGB", (300, 200))
    small.paste(speckle(80, 150), (100, 20))
    assert find(small) == (0, 0, 300, 200)
    cyst = speckle(300, 200)
    cyst.paste("black", (0, 70, 300, 130))  # a cyst from side to side does not end the field
    assert find(cyst) == (0, 0, 300, 200)


def test_the_crop_is_the_field_of_a_task_that_has_one() -> None:
    page = Image.new("RGB", (300, 200))
    page.paste(speckle(200, 150), (50, 20))
    image, box = scanned_field.crop(page, TASKS["ultrasound"])
    assert box == find(page) != (0, 0, 300, 200)
    assert image.tobytes() == page.crop(box).tobytes()
    whole, everything = scanned_field.crop(page, TASKS["skin"])
    assert whole is page
    assert everything == (0, 0, 300, 200)


def beside(left: Image.Image, right: Image.Image, gap: int = 0, level: int = 0) -> Image.Image:
    both = Image.new("RGB", (left.width + gap + right.width, left.height), (level,) * 3)
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    return both


def tissue(width: int, height: int, level: int) -> Image.Image:
    grain = np.random.default_rng(level).normal(0, 4, (height, width))
    return Image.fromarray((level + grain).clip(10, 250).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize(("gap", "level"), [(0, 0), (4, 0), (12, 0), (3, 255), (4, 120)])
@pytest.mark.parametrize("size", [(200, 220), (560, 460)])
def test_two_views_side_by_side_are_found_at_their_seam(size: tuple[int, int], gap: int, level: int) -> None:
    width, height = size
    both = beside(tissue(width, height, 90), tissue(width + 20, height, 60), gap, level)
    one, other = scanned_field.views(scanned_field.crop(both, TASKS["ultrasound"]))
    assert one[0] == 0
    assert other[2] == both.width
    assert one[2] == other[0]
    assert width - 3 <= one[2] <= width + gap + 3


def test_one_view_is_one() -> None:
    for image in (
        speckle(300, 200).filter(ImageFilter.GaussianBlur(1)),
        tissue(300, 260, 90),
        Image.new("RGB", (200, 200)),
        Image.new("RGB", (40, 900)),
    ):
        assert scanned_field.views(scanned_field.crop(image, TASKS["ultrasound"])) == []
    # Two layers of tissue and a bright line across are no seam: only an edge from top to bottom is.
    layered = tissue(300, 260, 60)
    layered.paste((180,) * 3, (0, 100, 300, 140))
    assert scanned_field.views(scanned_field.crop(layered, TASKS["ultrasound"])) == []
    # Nor is the edge of a lesion.
    layered.paste((20,) * 3, (120, 60, 200, 160))
    assert scanned_field.views(scanned_field.crop(layered, TASKS["ultrasound"])) == []
