"""The server: `python app.py` serves one page, with a tab and an API endpoint for each task of src/tasks.py.

src/page has the page itself. Nothing about an image is logged, and uploads and drawn files are deleted within an hour.
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT set the address, which is 127.0.0.1:7860 by default. The server uses no other
port. docs/CONFIGURATION.md lists all settings. If a setting cannot be used, the app ends with status 2.
"""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from src.models import engine_choice
from src.server import log, settings
from src.service import preloading
from src.tasks import TASKS

if TYPE_CHECKING:
    from src.models.predictor import Predictor

SESSIONS = 200
"""The most sessions that Gradio keeps, 50 to 340 KB each. A dropped session loses nothing: it has no result."""


def main() -> int:
    """Load every task's checkpoint and serve the page until stopped.

    Returns the exit status: 2, with one sentence on standard error, if a setting cannot be used.
    """
    try:
        address = settings.check()
        engine_choice.chosen()
        log.begin()
        # Before the imports that take seconds, because another process loads the same code meanwhile.
        preloading.begin()
        serve(address)
    except (settings.SettingRefused, engine_choice.EngineRefused) as refusal:
        print(f"app: {refusal}", file=sys.stderr)
        return 2
    return 0


def load() -> dict[str, "Predictor"]:
    """Load the models of all tasks. On the CPU, a separate process calls this.

    Raises EngineRefused and CheckpointError.
    """
    from src.models import checkpoints, device
    from src.models.predictor import Predictor

    log.begin()
    # They are loaded at the same time, so that a Hub that does not answer costs one time-out and not four.
    with ThreadPoolExecutor(len(TASKS)) as executor:
        found = dict(zip(TASKS, executor.map(checkpoints.find, TASKS), strict=True))
        for further in executor.map(checkpoints.find_further, TASKS):
            found |= further
        # In this thread on a GPU, because ZeroGPU's substitute for CUDA works in no other.
        each = executor.map if device.name() == "cpu" else map
        predictors = each(lambda checkpoint: Predictor(checkpoint, device.name()), found.values())
        return dict(zip(found, predictors, strict=True))


def serve(address: settings.Address) -> None:
    """Serve the page on this address until stopped. Raises SettingRefused and EngineRefused."""
    # These are imported here, because the worker processes also load this file and do not need the page.
    from src.service import worker_pool

    loaded = worker_pool.begin(load)
    from src import outgoing
    from src.page import layout
    from src.page.slide_tiles import SlideTiles
    from src.page.slide_uploads import SlideUploads
    from src.page.theme import launch_options
    from src.page.translation import translated_to
    from src.pictures.limits import MAX_BYTES
    from src.server import environment, middleware
    from src.slides import library

    claimed = environment.prepare()

    def stop(*_: object) -> None:
        """Delete the visitors' files, and exit without waiting for open requests."""
        shutil.rmtree(claimed.folder, ignore_errors=True)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)  # the signal that ends a Space
    pool = loaded()
    slides = library.offered(settings.folder("VIGIL_SLIDES"))
    slide_limit = settings.slide_limit()
    uploads = SlideUploads(slides, claimed.folder) if slide_limit else None
    page = layout.build(pool, slides, slide_limit)
    page.space_id = None  # otherwise Gradio adds a Space's header, with fonts and images from other servers
    outgoing.shut(lambda: middleware.addresses(page))
    try:
        settings.listen(address)  # again, because loading takes a while
        with outgoing.permitted():  # in this thread, which starts the server and answers no request
            page.launch(
                **launch_options(),
                server_name=address.name,
                server_port=address.port,
                footer_links=["api", "settings"],
                max_file_size=MAX_BYTES,
                show_error=False,
                enable_monitoring=False,
                run_history=False,
                state_session_capacity=SESSIONS,
                max_threads=layout.MAX_EVENTS,
                ssr_mode=False,
                app_kwargs=middleware.app_kwargs(
                    claimed,
                    pool.turns,
                    SlideTiles(pool, slides, uploads),
                    page.begin,
                    slide_limit,
                    translated_to,
                ),
                mcp_server=True,
                # Otherwise Gradio requests its own page, and ends the app if a busy machine needs more than 3 seconds.
                _frontend=False,
            )
    finally:
        # Gradio deletes it too, but not if visitors stay longer than five seconds.
        shutil.rmtree(claimed.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
