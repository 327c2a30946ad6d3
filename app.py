"""The server: `python app.py` opens one page, a tab and an API endpoint for each task of src/tasks.py.

The page itself is src/page; what is read, decided and said is src's. Nothing of a picture is logged, and what was
uploaded or drawn is deleted within an hour. GRADIO_SERVER_PORT and GRADIO_SERVER_NAME set where it listens, by default
127.0.0.1:7860 and never another port; VIGIL_VISITOR_LIMIT, VIGIL_TOTAL_LIMIT and VIGIL_PROXIES how often visitors may
ask, and how they are told apart (src/server/rate_limit.py); VIGIL_HOSTS by which names the page may be asked for
(src/server/hosts.py). A setting that cannot be used ends the start with status 2.
"""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from src.models import checkpoints, device
from src.models.predictor import Predictor
from src.pictures.limits import MAX_BYTES
from src.server import log, settings
from src.service import worker_pool
from src.tasks import TASKS

SESSIONS = 200  # each costs 50 to 340 KB; none holds a result, so one that is dropped loses nothing


def main() -> int:
    """Load every task's checkpoint and serve the page until stopped.

    Returns the exit status: 2, with one sentence on standard error, where a setting cannot be used.
    """
    try:
        serve(settings.check())
    except settings.SettingRefused as refusal:
        print(f"app: {refusal}", file=sys.stderr)
        return 2
    return 0


def serve(address: settings.Address) -> None:
    """Serve the page there until stopped. Raises SettingRefused."""
    log.begin()
    worker_pool.prepare()
    # Imported here: the processes that read pictures are started with this file too, and need no page.
    from src import outgoing
    from src.page import layout
    from src.page.theme import looks
    from src.server import environment, middleware

    claimed = environment.prepare()

    def stop(*_: object) -> None:
        """Leave nothing of a visitor's behind, and wait for none."""
        shutil.rmtree(claimed.folder, ignore_errors=True)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)  # as a Space is told to end
    # All at once, so that a Hub that does not answer is waited for once, not four times.
    with ThreadPoolExecutor(len(TASKS)) as pool:
        found = dict(zip(TASKS, pool.map(checkpoints.find, TASKS), strict=True))
    for task in TASKS:
        found |= checkpoints.find_further(task)
    predictors = {name: Predictor(checkpoint, device.name()) for name, checkpoint in found.items()}
    working = worker_pool.start(predictors)
    page = layout.build(working)
    page.space_id = None  # else Gradio draws a Space's header above it, with fonts and pictures from elsewhere
    outgoing.shut(lambda: middleware.addresses(page))
    try:
        settings.listen(address)  # once more: loading takes a while
        with outgoing.permitted():  # this thread, which starts the server and serves no one
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
                # Else Gradio asks the page of itself once, for 3 s, and ends the app where a busy machine takes longer.
                _frontend=False,
            )
    finally:
        # Gradio does so in order, but waits no more than five seconds for visitors to leave.
        shutil.rmtree(claimed.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
