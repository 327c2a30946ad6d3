"""The server: `python app.py` opens one page, a tab and an API endpoint for each task of src/tasks.py.

src/page is the page itself. Nothing about an image is logged, and uploads and drawn files are deleted within an hour.
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT set the address, by default 127.0.0.1:7860; the server uses no other port.
VIGIL_VISITOR_LIMIT, VIGIL_TOTAL_LIMIT and VIGIL_PROXIES set the rate limits (src/server/rate_limit.py), VIGIL_HOSTS the
names by which visitors may reach the server (src/server/hosts.py), VIGIL_ENGINE what runs the networks
(src/models/engine.py). A setting that cannot be used ends the start with
status 2.
"""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from src.models import checkpoints, device, engine
from src.models.predictor import Predictor
from src.pictures.limits import MAX_BYTES
from src.server import log, settings
from src.service import worker_pool
from src.tasks import TASKS

SESSIONS = 200  # 50 to 340 KB each; a session holds no result, so a dropped one loses nothing


def main() -> int:
    """Load every task's checkpoint and serve the page until stopped.

    Returns the exit status: 2, with one sentence on standard error, where a setting cannot be used.
    """
    try:
        address = settings.check()
        engine.chosen()
        serve(address)
    except (settings.SettingRefused, engine.EngineRefused) as refusal:
        print(f"app: {refusal}", file=sys.stderr)
        return 2
    return 0


def serve(address: settings.Address) -> None:
    """Serve the page on this address until stopped. Raises SettingRefused."""
    log.begin()
    worker_pool.prepare()
    # Imported here, because the worker processes load this file too and need no page.
    from src import outgoing
    from src.page import layout
    from src.page.theme import looks
    from src.server import environment, middleware

    claimed = environment.prepare()

    def stop(*_: object) -> None:
        """Delete the visitors' files, and exit without waiting for open requests."""
        shutil.rmtree(claimed.folder, ignore_errors=True)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)  # the signal that ends a Space
    # All at once: a Hub that does not answer costs its time-out once, not four times.
    with ThreadPoolExecutor(len(TASKS)) as pool:
        found = dict(zip(TASKS, pool.map(checkpoints.find, TASKS), strict=True))
    for task in TASKS:
        found |= checkpoints.find_further(task)
    predictors = {name: Predictor(checkpoint, device.name()) for name, checkpoint in found.items()}
    working = worker_pool.start(predictors)
    page = layout.build(working)
    page.space_id = None  # otherwise Gradio adds a Space's header, with fonts and images from other servers
    outgoing.shut(lambda: middleware.addresses(page))
    try:
        settings.listen(address)  # again, because loading takes a while
        with outgoing.permitted():  # in this thread, which starts the server and answers no request
            page.launch(
                **looks(),
                server_name=address.name,
                server_port=address.port,
                footer_links=["api", "settings"],
                max_file_size=MAX_BYTES,
                show_error=False,
                enable_monitoring=False,
                run_history=False,
                state_session_capacity=SESSIONS,
                max_threads=layout.UNDER_WAY,
                ssr_mode=False,
                app_kwargs=middleware.app_kwargs(claimed, working.turns),
                mcp_server=True,
                # Otherwise Gradio requests its own page, waits 3 s, and ends the app where a busy machine takes longer.
                _frontend=False,
            )
    finally:
        # Gradio deletes it as well, but not where visitors stay longer than five seconds.
        shutil.rmtree(claimed.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
