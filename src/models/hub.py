"""A commit of a Hugging Face Hub repository -> a local folder with some of its files, or one sentence saying why not.

Through the Hub client's own cache: what is there already is not fetched again. Knows nothing of what the files hold:
src/models/checkpoints.py verifies them.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, ResolvedRevision, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

log = logging.getLogger(__name__)

# Seconds. huggingface_hub 2.4 sets no limit to the first answer, would wait over six minutes for a Hub that falls
# silent between two files (a HEAD request of 10 s, then six of 60 s), and without end for one that drips.
ANSWER_SECONDS = 10
FILES_SECONDS = 240  # the largest checkpoint at 1 MB/s
# What huggingface_hub 2.4 was seen to raise: OSError (its own answers such as a missing repository or file, offline
# mode, our time limits, a full disk), httpx2's HTTPError (no connection: no OSError) and InvalidURL, ValueError (an
# impossible name, no JSON), TypeError, LookupError and AssertionError (JSON of something other than a Hub),
# RuntimeError (hf_xet).
ERRORS = (
    OSError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    RevisionResolutionError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    RuntimeError,
)

T = TypeVar("T")


class HubError(ValueError):
    """Files that the Hub does not give; the message says why in one sentence."""


def pull(
    repo: str, revision: str | None, files: Sequence[str], further: Callable[[Path], Iterable[str]]
) -> tuple[Path, str]:
    """The folder that holds `files` of one commit of "owner/repo", and that commit.

    `further` is asked, with `files` in the folder, which others are needed. No other file is fetched. Raises HubError.
    """
    try:
        # A branch may move between two files: resolve it once and fetch everything from that commit.
        resolved = _resolve(repo, revision)
        log.info("Fetching %s at commit %s, unless it is cached", repo, resolved.resolved)
        folder = within(FILES_SECONDS, lambda: _fetch(repo, resolved, files, further))
    except ERRORS as error:
        raise HubError(why(error, repo, revision)) from error
    return folder, resolved.resolved


def _fetch(repo: str, commit: ResolvedRevision, files: Sequence[str], further: Callable[[Path], Iterable[str]]) -> Path:
    paths = [Path(hf_hub_download(repo, name, revision=commit)) for name in files]
    for name in further(paths[0].parent):
        hf_hub_download(repo, name, revision=commit)
    return paths[0].parent


def _resolve(repo: str, revision: str | None) -> ResolvedRevision:
    """The commit that `revision` (by default the main branch) names; where the Hub gives no answer, named last time."""
    api = HfApi()
    try:
        # Falls back to the cache by itself where nothing answers or the answer is 500 and above.
        return within(ANSWER_SECONDS, lambda: api.resolve_revision(repo, revision=revision))
    except (TimeoutError, HfHubHTTPError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
            raise
        try:
            cached = api.resolve_revision(repo, revision=revision, local_files_only=True)
        except RevisionResolutionError:
            raise error from None
        log.warning("%s The commit it named last time serves.", why(error, repo, revision))
        return cached


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises, or TimeoutError once `seconds` are over."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            outcome.set_exception(error)

    # A daemon, so that a transfer given up on holds up nobody; what it still fetches is in the cache the next time.
    threading.Thread(target=run, name="hub", daemon=True).start()
    return outcome.result(timeout=seconds)


def why(error: BaseException, repo: str, revision: str | None) -> str:
    """One sentence for the person about one of ERRORS."""
    while isinstance(error, RevisionResolutionError | LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    match error:
        case RevisionNotFoundError():
            return f"{repo} has no revision {revision} on the Hub."
        case RemoteEntryNotFoundError():
            return f"{repo} has no {error.response.url.path.rpartition('/')[2]}."
        case RepositoryNotFoundError():
            return f"The Hub has no {repo}, or HF_TOKEN is not allowed to read it."
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"The Hub refuses {repo} ({error.response.status_code}): HF_TOKEN is not allowed to read it."
        case HfHubHTTPError() if error.response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            wait = error.response.headers.get("Retry-After", "")
            return f"The Hub is asked too often{f', it says to wait {wait} seconds' if wait.isdigit() else ''}."
        case HfHubHTTPError():
            return f"The Hub is out of order ({error.response.status_code})."
        case TimeoutError() | httpx2.TimeoutException():
            return "The Hub did not answer in time."
        case httpx2.TransportError() | ConnectionError():
            return "The Hub cannot be reached."
        case _:
            detail = str(error).partition("\n")[0][:120].rstrip(".")
            return f"The Hub did not give {repo} whole: {type(error).__name__}{f', {detail}' if detail else ''}."
