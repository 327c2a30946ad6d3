"""Upload a checkpoint folder to the Hugging Face Hub in one commit.

    hf auth login                                       # once; or set HF_TOKEN to a token that may write
    python -m train.publish runs/skin OWNER/vigil-skin [--private] [--revision BRANCH] [--dry-run]

The command verifies the folder as the app does, compares its golden probabilities, and generates the model card for the
repository. It creates the repository and the branch if they do not exist. Files that the Hub already has are not
uploaded again; if all files are the same, no commit is made. If the command is interrupted, the Hub stays as it was:
the files become visible with the commit only, and a repository or branch that was created for them is deleted.
`--dry-run` reads from the Hub and changes nothing.
"""

import argparse
import hashlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from src.command_line import runs_networks
from src.models import checkpoints, hub
from src.models.checkpoints import Checkpoint, CheckpointError
from src.models.config import FILES
from src.models.predictor import Predictor
from train import card, release

CARD = "README.md"
# OSError: errors of the Hub and of the disk. httpx2's HTTPError: no connection. ValueError: CheckpointError, an
# impossible name, or metadata that the Hub does not accept. RuntimeError: a failed upload of a file.
ERRORS = (OSError, httpx2.HTTPError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Plan:
    """What publishing would do.

    `sources` has each file's path or content, by the file's name on the Hub. `states` compares each file with the Hub:
    "new", "changed" or "same". `head` is the commit of `branch`, or the commit that a new branch starts from.
    `is_private` is the repository's visibility. Both are None for a repository that does not exist yet.
    """

    repo: str
    branch: str
    sources: dict[str, Path | bytes]
    states: dict[str, str]
    head: str | None
    is_private: bool | None
    makes_branch: bool

    @property
    def makes_repository(self) -> bool:
        """Whether the repository does not exist yet."""
        return self.head is None

    @property
    def upload(self) -> list[str]:
        """The files that the Hub lacks."""
        return [name for name, state in self.states.items() if state != "same"]


def check(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises CheckpointError if it does not verify or is not evaluated."""
    try:
        task = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vigil"]["task"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.") from error
    checkpoint = checkpoints.load(task, folder)
    if checkpoint.evaluation.problem is not None:
        problem = checkpoint.evaluation.problem
        raise CheckpointError(f"{folder}: {problem} Run python -m train.evaluate {folder} --data DIR.")
    golden = checkpoint.config.vigil.golden
    for name, probabilities in release.golden_predictions(Predictor(checkpoint)).items() if golden else ():
        difference = max(abs(p - q) for p, q in zip(probabilities, golden.get(name, probabilities), strict=True))
        if difference > release.GOLDEN_TOLERANCE:
            raise CheckpointError(
                f"{folder}: the probabilities for {name} differ from those in config.json by {difference:.4f}."
            )
    return checkpoint


def plan(api: HfApi, folder: Path, repo: str, branch: str, files: Sequence[str] = FILES) -> Plan:
    """Compare the `files` of a checked folder and its card for `repo` with those on the Hub. Raises ERRORS."""
    try:
        readme = card.card_text(folder, repo)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error} Run python -m train.evaluate again.") from error
    ModelCard(readme).validate(repo_type="model")
    sources = {name: folder / name for name in files} | {CARD: readme.encode()}
    states = dict.fromkeys(sources, "new")
    try:
        main = api.model_info(repo)
    except RepositoryNotFoundError:
        return Plan(repo, branch, sources, states, None, None, branch != "main")
    try:
        head, makes_branch = api.model_info(repo, revision=branch).sha, False
    except RevisionNotFoundError:
        head, makes_branch = main.sha, True
    for found in api.get_paths_info(repo, list(sources), revision=head):
        states[found.path] = "same" if _has_content(found, sources[found.path]) else "changed"
    return Plan(repo, branch, sources, states, head, main.private, makes_branch)


def _has_content(found: RepoFile | RepoFolder, source: Path | bytes) -> bool:
    """Whether a file on the Hub has this content. The Hub names large files by their sha256, others by git's hash."""
    content = source.read_bytes() if isinstance(source, Path) else source
    if isinstance(found, RepoFile) and found.lfs is not None:
        return found.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return (
        isinstance(found, RepoFile)
        and found.blob_id == hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
    )


def publish(api: HfApi, planned: Plan, private: bool = False, title: str = "checkpoint") -> str:
    """Carry out a plan; returns the commit with the checkpoint. Raises ERRORS, and then leaves the Hub as it was."""
    repo, branch, commit = planned.repo, planned.branch, planned.head
    with ExitStack() as undo:
        if planned.makes_repository:
            # With None the repository is public, or as the organisation's default says.
            api.create_repo(repo, private=private or None)
            undo.callback(_undo, lambda: api.delete_repo(repo), repo)
        operations = [CommitOperationAdd(name, planned.sources[name]) for name in planned.upload]
        if operations:
            # The upload comes before a new branch, so that nothing is visible until the commit.
            base = "main" if planned.makes_branch else branch
            api.preupload_lfs_files(repo, operations, revision=base, free_memory=False)
        if planned.makes_branch:
            api.create_branch(repo, branch=branch, revision=planned.head)
            undo.callback(_undo, lambda: api.delete_branch(repo, branch=branch), f"{repo}@{branch}")
        if operations:
            # The Hub refuses this commit if someone else committed in the meantime.
            commit = api.create_commit(
                repo, operations, commit_message=f"Publish {title}", revision=branch, parent_commit=planned.head
            ).oid
        undo.pop_all()
    assert commit is not None  # a new repository always gets a commit
    return commit


def _undo(remove: Callable[[], None], what: str) -> None:
    try:
        with _patience(what):
            remove()
    except (*ERRORS, KeyboardInterrupt):
        print(f"publish: {what} was created, and could not be deleted again.", file=sys.stderr)


@contextmanager
def _patience(what: str) -> Iterator[None]:
    """In this block, the first Ctrl-C only prints a line, because it would leave a repository or branch behind.

    The second Ctrl-C ends the block, because huggingface_hub may wait for an answer without end.
    """
    if threading.current_thread() is not threading.main_thread():  # signals arrive in the main thread only
        yield
        return

    def say(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        print(f"publish: deleting {what} again. Press Ctrl-C once more to leave it there.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, say)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def why(error: BaseException, repo: str, branch: str) -> str:
    """One of ERRORS as one sentence for the user."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # huggingface_hub wraps the error that stopped an upload
    match error:
        case CheckpointError():
            return str(error)
        case LocalTokenNotFoundError():
            return "Log in first with hf auth login, or set HF_TOKEN to a token that may write."
        case HfHubHTTPError() if error.response.status_code == 401:
            return "The Hub does not accept this token. Use hf auth login or another HF_TOKEN."
        case HfHubHTTPError() if error.response.status_code == 403:
            return f"This token may not write to {repo}."
        case HfHubHTTPError() if error.response.status_code == 412:
            return f"{repo} was changed in the meantime. Run the command again."
        case ValueError() if not isinstance(error, HfHubHTTPError):
            return " ".join(str(error).split())
    return hub.why(error, repo, branch)


@runs_networks("publish")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.publish", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="evaluated checkpoint folder")
    parser.add_argument("repo", metavar="OWNER/REPO", help="repository on the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", default="main", metavar="BRANCH", help="branch (default: main); created if it does not exist"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    api = HfApi()
    try:
        config = check(options.folder).config
        vigil = config.vigil
        api.whoami()
        planned = plan(api, options.folder, options.repo, options.revision, config.files)
        if options.private and planned.is_private is False:
            raise CheckpointError(f"{options.repo} exists and is public. --private is for a new repository.")
        show(planned, options.private)
        if options.dry_run:
            print("Dry run: nothing was changed.")
            return 0
        commit = publish(api, planned, options.private, vigil.name)
    except ERRORS as error:
        print(f"publish: {why(error, options.repo, options.revision)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"publish: interrupted; nothing was published to {options.repo}.", file=sys.stderr)
        return 130
    print(f"{'Published' if planned.upload else 'Already there'}: {options.repo}, commit {commit}")
    print(f"Use it with VIGIL_WEIGHTS_{vigil.task.upper()}={options.repo}@{commit}")
    return 0


def show(planned: Plan, private: bool) -> None:
    """Print a plan."""
    if planned.makes_repository:
        print(f"New {'private' if private else 'public'} repository {planned.repo}")
    if planned.makes_branch:
        print(f"New branch {planned.branch}")
    for name, source in planned.sources.items():
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        print(f"  {name:<20}{size / 1000:>10,.1f} kB  {planned.states[name]}")


if __name__ == "__main__":
    sys.exit(main())
