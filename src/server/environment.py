"""What Gradio and uvicorn are told by environment variables alone."""

import os
import shutil
from pathlib import Path
from typing import Final

from gradio.utils import get_upload_folder

from src.pictures.decode import MAX_BYTES
from src.server.disk import PREFIX, SPARE, Claim, claim
from src.server.settings import SettingRefused

FOLDER: Final = "GRADIO_TEMP_DIR"
ROOM: Final = SPARE + 10 * MAX_BYTES
"""Bytes free on the disk without which starting is no use: each picture would be refused."""
EVENTS: Final = 200
"""Calls that Gradio remembers for the times it promises. At its 10,000 each call took 9 ms of the server's time."""


def prepare() -> Claim:
    """Set the variables, before the page is built; returns the folder that uploads go into.

    It is a new one below GRADIO_TEMP_DIR, where that is set, or else below the system's folder for such: in Gradio's
    own there, or beside it where that is another user's. Raises SettingRefused where it cannot be made there, or where
    there is too little room.
    """
    base, claimed, free = _claim()
    if free < ROOM:
        claimed.folder.rmdir()
        claimed.lock.release()
        raise SettingRefused(
            f"{FOLDER}: {base} has {free / 1e6:,.0f} MB free, and uploads need {ROOM / 1e6:,.0f} MB; set it to a "
            "folder with more room."
        )
    os.environ[FOLDER] = str(claimed.folder)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = str(EVENTS)
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(EVENTS // 10)
    # uvicorn would take the visitor's address from what anyone on this machine claims: src/server/rate_limit.py asks.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    return claimed


def _claim() -> tuple[Path, Claim, int]:
    """The folder that was chosen, a new one in it, and the bytes free there. Raises SettingRefused."""
    base = Path(get_upload_folder())
    try:
        return base, claim(base), shutil.disk_usage(base).free
    except OSError as error:
        if os.environ.get(FOLDER):
            raise SettingRefused(f"{FOLDER}: no folder can be made in {base} ({error.strerror}).") from error
    # Gradio's default has one name for all users of a machine, and belongs to the first who starts an app there.
    own = base.with_name(f"{PREFIX}{os.getuid() if hasattr(os, 'getuid') else 'uploads'}")
    try:
        return own, claim(own), shutil.disk_usage(own).free
    except OSError as error:
        raise SettingRefused(
            f"{FOLDER}: no folder can be made in {base} or {own} ({error.strerror}); set it to one of yours."
        ) from error
