"""The report as JSON: a Result with a title, a date, the image and its heat map.

It is made in memory. It contains no file name and no metadata of the image, because either may name a patient.
"""

import json
from base64 import b64encode
from datetime import datetime

from PIL import Image

from src.exports.report_parts import jpeg, timestamp, title
from src.results.result import Result


def json_report(result: Result, image: Image.Image, heat_map: Image.Image | None, date: datetime) -> bytes:
    """The keys of `result`, with the report's title and date, and both images as `data:` URLs of JPEGs; in ASCII."""
    content = {
        "report": title(result),
        "date": timestamp(date),
        **result.model_dump(mode="json"),
        "picture": _data_url(image),
        "heatmap": None if heat_map is None else _data_url(heat_map),
    }
    return json.dumps(content, indent=2, allow_nan=False).encode("ascii")


def _data_url(image: Image.Image) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg(image)).decode()}"
