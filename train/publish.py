"""Put a checkpoint folder on the Hugging Face Hub, in one commit.

    hf auth login                                       # once; or HF_TOKEN, a token that may write
    python -m train.publish runs/skin OWNER/vigil-skin [--private] [--revision BRANCH] [--dry-run]

The folder is verified as the app would, its golden values too, and its model card made for the repository it goes to.
Repository and branch are made where they are not there. What is there already is not uploaded again, and where nothing
differs no commit is made. Whatever interrupts it, the Hub is left as it was: files become visible with the one commit,
and a repository or branch made for them is removed again. `--dry-run` asks the Hub and changes nothing.
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

from src.models import checkpoints, hub
from src.models.checkpoints import Checkpoint, CheckpointError
from src.models.config import FILES
from src.models.predictor import Predictor
from train import card, release

CARD = "README.md"
# OSError: what the Hub answers, and the disk; httpx2's HTTPError: no connection; ValueError: CheckpointError, an
# impossible name, metadata the Hub does not accept; RuntimeError: what stopped the upload of a file.
ERRORS = (OSError, httpx2.HTTPError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Plan:
    """What publishing would do.

    `sources` has every file, or its content; `states` says of each whether the Hub has it ("new", "changed", "same").
    `head` is the commit that `branch` names or that a new branch starts from, `is_private` what the repository is; both
    are None where it has to be made.
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
        """Whether there is no such repository yet."""
        return self.head is None

    @property
    def upload(self) -> list[str]:
        """The files that the Hub lacks."""
        return [name for name, state in self.states.items() if state != "same"]


def check(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, whole and evaluated. Raises CheckpointError."""
    try:
        task = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vigil"]["task"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.") from error
    checkpoint = checkpoints.load(task, folder)
    if checkpoint.evaluation.problem is not None:
        problem = checkpoint.evaluation.problem
        raise CheckpointError(f"{folder}: {problem} Run python -m train.evaluate {folder} --data DIR.")
    golden = checkpoint.config.vigil.golden
    for name, answer in release.golden_predictions(Predictor(checkpoint)).items() if golden else ():
        difference = max(abs(p - q) for p, q in zip(answer, golden.get(name, answer), strict=True))
        if difference > release.GOLDEN_TOLERANCE:
            raise CheckpointError(f"{folder} does not answer {name} as its config.json says: {difference:.4f} apart.")
    return checkpoint


def plan(api: HfApi, folder: Path, repo: str, branch: str, files: Sequence[str] = FILES) -> Plan:
    """Compare the `files` of a checked folder, with its card for `repo`, to what the Hub has. Raises ERRORS."""
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
        states[found.path] = "same" if _is(found, sources[found.path]) else "changed"
    return Plan(repo, branch, sources, states, head, main.private, makes_branch)


def _is(found: RepoFile | RepoFolder, source: Path | bytes) -> bool:
    """Whether a file of the Hub has this content: large files are named by their sha256, others as git names them."""
    content = source.read_bytes() if isinstance(source, Path) else source
    if isinstance(found, RepoFile) and found.lfs is not None:
        return found.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return (
        isinstance(found, RepoFile)
        and found.blob_id == hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
    )


def publish(api: HfApi, planned: Plan, private: bool = False, title: str = "checkpoint") -> str:
    """Carry out a plan; returns the commit that holds the checkpoint. Raises ERRORS, the Hub being as it was."""
    repo, branch, commit = planned.repo, planned.branch, planned.head
    with ExitStack() as undo:
        if planned.makes_repository:
            # None: public, or what the organisation prefers.
            api.create_repo(repo, private=private or None)
            undo.callback(_undo, lambda: api.delete_repo(repo), repo)
        operations = [CommitOperationAdd(name, planned.sources[name]) for name in planned.upload]
        if operations:
            # Before a new branch is made, for nothing is to be seen until the commit.
            base = "main" if planned.makes_branch else branch
            api.preupload_lfs_files(repo, operations, revision=base, free_memory=False)
        if planned.makes_branch:
            api.create_branch(repo, branch=branch, revision=planned.head)
            undo.callback(_undo, lambda: api.delete_branch(repo, branch=branch), f"{repo}@{branch}")
        if operations:
            # Refused if a commit of someone else's came between.
            commit = api.create_commit(
                repo, operations, commit_message=f"Publish {title}", revision=branch, parent_commit=planned.head
            ).oid
        undo.pop_all()
    assert commit is not None  # where there was no head there were operations
    return commit


def _undo(remove: Callable[[], None], what: str) -> None:
    try:
        with _patience(what):
            remove()
    except (*ERRORS, KeyboardInterrupt):
        print(f"publish: {what} was made for this and could not be removed again.", file=sys.stderr)


@contextmanager
def _patience(what: str) -> Iterator[None]:
    """Ctrl-C once in this block only says what is done there: pressed out of impatience, it would leave half behind.
    The second one ends it, since huggingface_hub waits for an answer as long as it takes."""
    if threading.current_thread() is not threading.main_thread():  # no signal arrives in another
        yield
        return

    def say(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        print(f"publish: removing {what} again; Ctrl-C once more leaves it there.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, say)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def why(error: BaseException, repo: str, branch: str) -> str:
    """One sentence for the person about one of ERRORS."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # huggingface_hub wraps what stopped an upload
    match error:
        case CheckpointError():
            return str(error)
        case LocalTokenNotFoundError():
            return "Log in first: hf auth login, or HF_TOKEN with a token that may write."
        case HfHubHTTPError() if error.response.status_code == 401:
            return "The Hub does not accept this token: hf auth login, or another HF_TOKEN."
        case HfHubHTTPError() if error.response.status_code == 403:
            return f"This token may not write to {repo}."
        case HfHubHTTPError() if error.response.status_code == 412:
            return f"{repo} was changed meanwhile: run this again."
        case ValueError() if not isinstance(error, HfHubHTTPError):
            return " ".join(str(error).split())
    return hub.why(error, repo, branch)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.publish", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="checkpoint folder, evaluated")
    parser.add_argument("repo", metavar="OWNER/REPO", help="where it goes")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", default="main", metavar="BRANCH", help="branch (default main), made if need be")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    api = HfApi()
    try:
        config = check(options.folder).config
        vigil = config.vigil
        api.whoami()
        planned = plan(api, options.folder, options.repo, options.revision, config.files)
        if options.private and planned.is_private is False:
            raise CheckpointError(f"{options.repo} is there and public; --private is for a new repository.")
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
    """Print what a plan would do."""
    if planned.makes_repository:
        print(f"New {'private' if private else 'public'} repository {planned.repo}")
    if planned.makes_branch:
        print(f"New branch {planned.branch}")
    for name, source in planned.sources.items():
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        print(f"  {name:<20}{size / 1000:>10,.1f} kB  {planned.states[name]}")


if __name__ == "__main__":
    sys.exit(main())
