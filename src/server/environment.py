"""Settings of Gradio and its libraries that must be made before the page is built."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Final

import matplotlib
from gradio import http_server
from gradio.exceptions import ServerFailedToStartError
from gradio.utils import get_upload_folder

from src.pictures.limits import MAX_BYTES
from src.server.disk import PREFIX, SPARE, Claim, claim
from src.server.settings import SettingRefused

FOLDER: Final = "GRADIO_TEMP_DIR"
ROOM: Final = SPARE + 10 * MAX_BYTES
"""Bytes that must be free on the disk at the start. With less, every image would be refused."""
EVENTS: Final = 200
"""Past calls from which Gradio estimates waiting times. With its default of 10,000 each call cost 9 ms."""


class PatientServer(http_server.Server):
    """Gradio's server, but the start waits until uvicorn serves or ends. Gradio itself gives up after 5 s, which a busy
    machine can take, and then reports that the port is in use."""

    def run_in_thread(self) -> None:
        """Serve in a thread of its own. Raises ServerFailedToStartError where uvicorn ends before it serves."""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        while not self.started:
            if not self.thread.is_alive():
                raise ServerFailedToStartError("The server ended before it served.")
            time.sleep(0.01)


def prepare() -> Claim:
    """Make these settings and create the folder for uploads, which is returned.

    It is a new folder in GRADIO_TEMP_DIR. If that is not set, it is in Gradio's folder in the system's temporary
    folder, or beside that folder if another user owns it. Raises SettingRefused if it cannot be created, or if the disk
    has too little space.
    """
    base, claimed, free = _claim()
    if free < ROOM:
        claimed.folder.rmdir()
        claimed.lock.release()
        raise SettingRefused(
            f"{FOLDER}: {base} has {free / 1e6:,.0f} MB free, and uploads need {ROOM / 1e6:,.0f} MB; set it to a "
            "folder with more space."
        )
    os.environ[FOLDER] = str(claimed.folder)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = str(EVENTS)
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(EVENTS // 10)
    # Gradio asks for the backend around every call. The first would otherwise import all of pyplot to choose one, while
    # the server answers nobody.
    matplotlib.use("agg")
    http_server.Server = PatientServer  # type: ignore[misc]  # Gradio takes none from outside
    # uvicorn would believe X-Forwarded-For from any program on this machine; src/server/rate_limit.py reads it instead.
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
