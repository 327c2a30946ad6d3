"""Files from one commit of a Hugging Face Hub repository -> a local folder, or an error of one sentence.

The Hub client caches the files and does not fetch a cached file again. This module does not know the files' contents:
src/models/checkpoints.py verifies them.
"""

import logging
import threading
import time
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

# Time limits in seconds. huggingface_hub 2.4 has no limit for the first answer. It waits over six minutes for a Hub
# that stops answering between two files (one HEAD request of 10 s, then six of 60 s), and forever for one that sends
# a byte now and then.
ANSWER_SECONDS = 10
FILES_SECONDS = 240  # the largest checkpoint at 1 MB/s
# The exceptions that huggingface_hub 2.4 was seen to raise: OSError (a missing repository or file, offline mode, our
# time limits, a full disk), httpx2's HTTPError (no connection; it is no OSError) and InvalidURL, ValueError (an
# impossible name, an answer that is not JSON), TypeError, LookupError and AssertionError (JSON from a server that is
# not a Hub), RuntimeError (hf_xet).
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

THREADS = "hub"
"""The name of the threads that ask the Hub."""

T = TypeVar("T")


class HubError(ValueError):
    """The Hub did not provide the files. The message says why in one sentence."""


def pull(
    repo: str, revision: str | None, files: Sequence[str], further: Callable[[Path], Iterable[str]]
) -> tuple[Path, str]:
    """Fetch `files` from one commit of the repository `repo`, "owner/repo". No other file is fetched.

    `revision`: a branch, tag or commit; None for the main branch. `further`: is called with the folder once `files` are
    there, and returns the names of more files to fetch. Returns the folder and the commit. Raises HubError.
    """
    try:
        # A branch may change between two files. So it is resolved once, and all files come from that commit.
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
    """The commit of `revision`, by default of the main branch. If the Hub does not answer, the cached commit."""
    api = HfApi()
    try:
        # It uses the cache by itself if there is no answer, or an answer with status 500 or above.
        return within(ANSWER_SECONDS, lambda: api.resolve_revision(repo, revision=revision))
    except (TimeoutError, HfHubHTTPError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
            raise
        try:
            cached = api.resolve_revision(repo, revision=revision, local_files_only=True)
        except RevisionResolutionError:
            raise error from None
        log.warning("%s The commit from the last successful request is used.", why(error, repo, revision))
        return cached


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what `call` does. Raises TimeoutError if it takes longer than `seconds`."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - the caller gets every exception
            outcome.set_exception(error)

    # A daemon thread, so that an abandoned transfer keeps no process alive that does not `wait` for it.
    threading.Thread(target=run, name=THREADS, daemon=True).start()
    return outcome.result(timeout=seconds)


def wait(seconds: float = FILES_SECONDS) -> None:
    """Wait, `seconds` at most, for transfers that `pull` has abandoned. Then their files are in the cache."""
    until = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name == THREADS:
            thread.join(max(0.0, until - time.monotonic()))


def why(error: BaseException, repo: str, revision: str | None) -> str:
    """The reason for one of ERRORS, as one sentence for the person."""
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
