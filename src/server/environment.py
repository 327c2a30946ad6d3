"""What Gradio and uvicorn are told by environment variables alone."""

import os
from pathlib import Path
from typing import Final

from gradio.utils import get_upload_folder

from src.server.disk import Claim, claim

EVENTS: Final = 200
"""Calls that Gradio remembers for the times it promises. At its 10,000 each call took 9 ms of the server's time."""


def prepare() -> Claim:
    """Set the variables, before the page is built; returns the folder that uploads go into.

    It is a new one below GRADIO_TEMP_DIR, where that is set, or else below the system's folder for such.
    """
    claimed = claim(Path(get_upload_folder()))
    os.environ["GRADIO_TEMP_DIR"] = str(claimed.folder)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = str(EVENTS)
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(EVENTS // 10)
    # uvicorn would take the visitor's address from what anyone on this machine claims: src/server/rate_limit.py asks.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    return claimed
