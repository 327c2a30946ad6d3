"""The title, the date and the images of a report, as its PDF and its JSON share them."""

from datetime import UTC, datetime
from io import BytesIO

from PIL import Image

from src.results.result import Result

LONGEST_SIDE = 1200
"""The longest side of a report's image, in pixels: at least 300 per printed inch."""


def title(result: Result) -> str:
    """The report's title."""
    return f"Vigil report: {result.about_task.title}"


def timestamp(date: datetime) -> str:
    """The report's date in UTC. `date` knows its time zone."""
    return date.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG with sides of at most LONGEST_SIDE, without the metadata of its file (EXIF, comments)."""
    small = image.convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    small.info = {}
    file = BytesIO()
    small.save(file, "JPEG", quality=90, subsampling=0)
    return file.getvalue()
