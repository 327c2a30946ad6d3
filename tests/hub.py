"""A small Hugging Face Hub on loopback, with the part of its HTTP interface that Vigil needs.

A pytest plugin (pyproject.toml names it): every test, and every process a test starts, has this Hub as its HF_ENDPOINT,
an empty cache and no token, so that nothing can reach the real one. By hand:

    python -m tests.hub        # prints the variables to set, then serves until Ctrl-C

Repositories live in memory. A fault changes what a request would have been answered. Xet, the Hub's newer transfer, is
not spoken (the client leaves the server no choice once hf_xet is installed): HF_HUB_DISABLE_XET makes it use LFS. Knows
nothing of Vigil.
"""

import base64
import fnmatch
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

TOKENS = {"hf_write": ("owner", "write"), "hf_read": ("owner", "read"), "hf_other": ("other", "write")}
"""Token -> whose it is and what it may do."""
LFS_PATTERNS = ("*.safetensors", "*.bin")
LFS_FROM_BYTES = 10 * 2**20
LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "other")
"""Those of the Hub's list that Vigil has a use for."""


@dataclass(frozen=True)
class Reply:
    """An answer; with `delay` seconds before it, and the connection closed after `cut` bytes of its body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    cut: int | None = None


def instead(**fields: Any) -> Callable[[Reply], Reply]:
    """A fault that sets these fields of the reply."""
    return lambda reply: replace(reply, **fields)


class Refused(Exception):  # noqa: N818 - read as a sentence: raise Refused
    """A request that is answered with an error, as the Hub words it for its client."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message)
        self.reply = Reply(
            status,
            json.dumps({"error": message or code}).encode(),
            {"X-Error-Code": code, "X-Error-Message": message or code},
        )


@dataclass(frozen=True)
class Commit:
    """One state of a repository: path -> content, where large files are named by their sha256 in `large`."""

    oid: str
    message: str
    files: dict[str, bytes]
    large: dict[str, str]
    parent: str | None


@dataclass
class Repository:
    """Commits by their id, and the branches that name some of them."""

    kind: str
    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, message: str, files: dict[str, bytes], large: dict[str, str]) -> Commit:
        """Make `branch` name a new commit with these files and no others."""
        parent = self.branches.get(branch)
        made = Commit(secrets.token_hex(20), message, files, large, parent)
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made

    def at(self, revision: str) -> Commit:
        """The commit that a branch or a commit's id names."""
        oid = self.branches.get(revision, revision)
        if oid not in self.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[oid]


def git_oid(content: bytes) -> str:
    """What git names a file's content by."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """The server. `repositories` and `asked` (method and path of every request) are there to be looked at."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.faults: list[tuple[re.Pattern[str], Callable[[Reply], Reply], bool]] = []
        self._waking = threading.Event()
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                hub._serve(self)

            do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The Hub's large files come from another host.
        self.storage = f"http://localhost:{self._server.server_port}/storage"
        threading.Thread(target=self._server.serve_forever, name="hub", daemon=True).start()

    def environment(self, home: Path) -> dict[str, str]:
        """What makes huggingface_hub use this Hub, with its cache in `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }

    def close(self) -> None:
        """Stop."""
        self.behave()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget every repository, fault and request."""
        self.behave()
        for held in (self.repositories, self.large, self.asked):
            held.clear()

    def behave(self) -> None:
        """No more faults; connections that wait for a delayed reply are closed."""
        self.faults.clear()
        self._waking.set()
        self._waking = threading.Event()

    def fault(self, request: str, change: Callable[[Reply], Reply], carried_out: bool = True) -> None:
        """From now on `change` makes the wrong reply of the right one, where the pattern `request` is found in a
        request's method and path. Unless `carried_out`, it is all that happens: the request is not looked at."""
        self.faults.append((re.compile(request), change, carried_out))

    def put(
        self, name: str, files: dict[str, bytes], branch: str = "main", private: bool = False, kind: str = "model"
    ) -> Commit:
        """A repository's new commit, as if someone had uploaded it."""
        repository = self.repositories.setdefault((kind, name), Repository(kind, name, private))
        small = {path: content for path, content in files.items() if not self._is_large(path, len(content))}
        large = {path: hashlib.sha256(files[path]).hexdigest() for path in files.keys() - small.keys()}
        self.large.update({oid: files[path] for path, oid in large.items()})
        return repository.commit(branch, "put", small, large)

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Every file of a repository at a revision, large ones too."""
        commit = self.repositories[kind, name].at(revision)
        return commit.files | {path: self.large[oid] for path, oid in commit.large.items()}

    # What follows answers requests.

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        line = f"{request.command} {request.path}"
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Transfer-Encoding") == "chunked":
            while size := int(request.rfile.readline(), 16):
                body += request.rfile.read(size)
                request.rfile.readline()
            request.rfile.readline()
        with self._lock:
            self.asked.append(line)
            faults = [(change, carried_out) for pattern, change, carried_out in self.faults if pattern.search(line)]
            waking, reply = self._waking, Reply()
            if all(carried_out for _, carried_out in faults):
                try:
                    reply = self._reply(request, body)
                except Refused as refusal:
                    reply = refusal.reply
        for change, _ in faults:
            reply = change(reply)
        if reply.delay and waking.wait(reply.delay):
            request.close_connection = True
            return
        try:
            request.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                request.send_header(name, value)
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True  # the client was interrupted
        if reply.cut is not None:
            request.close_connection = True

    def _reply(self, request: BaseHTTPRequestHandler, body: bytes) -> Reply:
        path = unquote(urlsplit(request.path).path)
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in TOKENS:
            raise Refused(401, "InvalidToken", "Invalid credentials in Authorization header")
        who = TOKENS.get(token)
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, f"{request.command} {path}"):
                return answer(self, Request(request, body, who, match.groupdict()))
        raise Refused(404, "NotFound", f"This Hub does not know {request.command} {path}")

    def _is_large(self, path: str, size: int) -> bool:
        return size > LFS_FROM_BYTES or any(fnmatch.fnmatch(path, pattern) for pattern in LFS_PATTERNS)

    def _readable(self, request: "Request") -> Repository:
        found = self.repositories.get((request.kind, request.name))
        if found is None or (found.private and request.owner != found.name.split("/")[0]):
            # The Hub does not tell a stranger whether there is such a repository.
            raise Refused(404 if request.who else 401, "RepoNotFound", "Repository not found")
        return found

    def _writable(self, request: "Request") -> Repository:
        found = self._readable(request)
        request.may_write(found.name.split("/")[0])
        return found

    def _whoami(self, request: "Request") -> Reply:
        if request.who is None:
            raise Refused(401, "Unauthorized", "Invalid username or password.")
        name, role = request.who
        return as_json({"type": "user", "name": name, "orgs": [], "auth": {"accessToken": {"role": role}}})

    def _create(self, request: "Request") -> Reply:
        asked = request.json()
        name = f"{asked['organization'] or request.owner}/{asked['name']}"
        request.may_write(name.split("/")[0])
        kind = asked.get("type", "model")
        made = {"url": f"{self.url}/{'' if kind == 'model' else kind + 's/'}{name}", "name": name}
        if (kind, name) in self.repositories:
            return as_json({**made, "error": f"You already created this {kind} repo"}, 409)
        repository = Repository(kind, name, asked.get("visibility") == "private" or bool(asked.get("private")))
        repository.commit("main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"}, {})
        self.repositories[kind, name] = repository
        return as_json(made)

    def _delete(self, request: "Request") -> Reply:
        asked = request.json()
        name = f"{asked['organization'] or request.owner}/{asked['name']}"
        request.may_write(name.split("/")[0])
        if self.repositories.pop((asked.get("type", "model"), name), None) is None:
            raise Refused(404, "RepoNotFound", "Repository not found")
        return Reply()

    def _validate(self, request: "Request") -> Reply:
        """As the Hub does: licence, datasets and model-index have to be of its form."""
        block = re.match(r"---\n(.*?)\n---", request.json()["content"], re.DOTALL)
        found = yaml.safe_load(block[1]) if block else {}
        errors = []
        if "license" in found and found["license"] not in LICENCES:
            errors.append('"license" must be one of the Hub\'s list')
        if found.get("license") == "other" and not {"license_name", "license_link"} <= found.keys():
            errors.append('"license_name" and "license_link" are required with "license: other"')
        names = found.get("datasets", [])
        if not isinstance(names, list) or not all(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name)) for name in names):
            errors.append('"datasets" must be a list of datasets')
        if len(found.get("short_description", "")) > 60:
            errors.append('"short_description" must be at most 60 characters long')
        for model in found.get("model-index", []):
            for result in model["results"]:
                complete = {"type"} <= result["task"].keys() and {"type", "name"} <= result["dataset"].keys()
                if not complete or not all({"type", "value"} <= metric.keys() for metric in result["metrics"]):
                    errors.append('"model-index" has a result without its type, name or value')
        warnings = [] if block else [{"message": "empty or missing yaml metadata in repo card"}]
        content = {"errors": [{"message": message} for message in errors], "warnings": warnings}
        return as_json(content, 400 if errors else 200)

    def _info(self, request: "Request") -> Reply:
        repository = self._readable(request)
        commit = repository.at(request.of.get("revision") or "main")
        files = [{"rfilename": path} for path in sorted(commit.files | commit.large)]
        return as_json({"id": repository.name, "sha": commit.oid, "private": repository.private, "siblings": files})

    def _refs(self, request: "Request") -> Reply:
        names = self._readable(request).branches.items()
        branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in names]
        return as_json({"branches": branches, "converts": [], "tags": []})

    def _paths(self, request: "Request") -> Reply:
        """Both the listing of a tree and the look at single paths."""
        commit = self._readable(request).at(request.of["revision"])
        asked = parse_qs(request.body.decode()).get("paths")
        found: list[dict[str, Any]] = [
            {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            for path, content in commit.files.items()
        ]
        for path, oid in commit.large.items():
            size = len(self.large[oid])
            lfs = {"oid": oid, "size": size, "pointerSize": 134}
            found.append({"type": "file", "path": path, "size": size, "oid": git_oid(oid.encode()), "lfs": lfs})
        return as_json([item for item in found if asked is None or item["path"] in asked])

    def _branch(self, request: "Request") -> Reply:
        repository, name = self._writable(request), request.of["revision"]
        if request.command == "DELETE":
            if repository.branches.pop(name, None) is None:
                raise Refused(404, "RevisionNotFound", f"Invalid rev id: {name}")
            return Reply()
        if name in repository.branches:
            raise Refused(409, "Conflict", f"Reference already exists: {name}")
        repository.branches[name] = repository.at(request.json().get("startingPoint") or "main").oid
        return Reply()

    def _preupload(self, request: "Request") -> Reply:
        commit = self._writable(request).at(request.of["revision"])
        files = []
        for file in request.json()["files"]:
            path = file["path"]
            held = commit.large.get(path) or (git_oid(commit.files[path]) if path in commit.files else None)
            mode = "lfs" if self._is_large(path, file["size"]) else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": held})
        return as_json({"files": files})

    def _batch(self, request: "Request") -> Reply:
        self._writable(request)
        objects = []
        for item in request.json()["objects"]:
            upload = {"upload": {"href": f"{self.storage}/{item['oid']}"}}
            # No action is the Hub's way to say that it has the object.
            objects.append(item if item["oid"] in self.large else {**item, "actions": upload})
        return as_json({"transfer": "basic", "objects": objects})

    def _store(self, request: "Request") -> Reply:
        if hashlib.sha256(request.body).hexdigest() != request.of["oid"]:
            raise Refused(400, "BadDigest", "The content does not have this sha256")
        self.large[request.of["oid"]] = request.body
        return Reply()

    def _fetch(self, request: "Request") -> Reply:
        if request.of["oid"] not in self.large:
            raise Refused(403, "AccessDenied")
        return request.ranged(self.large[request.of["oid"]], {"ETag": f'"{request.of["oid"]}"'})

    def _commit(self, request: "Request") -> Reply:
        repository, branch = self._writable(request), request.of["revision"]
        head = repository.at(branch)
        files, large = dict(head.files), dict(head.large)
        lines = [json.loads(line) for line in request.body.splitlines() if line]
        for operation in lines[1:]:
            value = operation["value"]
            files.pop(value["path"], None)
            large.pop(value["path"], None)
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.large:
                    raise Refused(400, "BadRequest", f"{value['path']} was not uploaded")
                large[value["path"]] = value["oid"]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, head.oid):
            raise Refused(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.")
        made = repository.commit(branch, header["summary"], files, large)
        url = f"{self.url}/{repository.name}/commit/{made.oid}"
        return as_json({"success": True, "commitOid": made.oid, "commitUrl": url})

    def _resolve(self, request: "Request") -> Reply:
        commit, path = self._readable(request).at(request.of["revision"]), request.of["path"]
        headers = {"X-Repo-Commit": commit.oid}
        if path in commit.large:
            oid = commit.large[path]
            size = str(len(self.large[oid]))
            headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": size, "Location": f"{self.storage}/{oid}"}
            return Reply(302, headers=headers)
        if path not in commit.files:
            refusal = Refused(404, "EntryNotFound", "Entry not found").reply
            return replace(refusal, headers=refusal.headers | headers)
        return request.ranged(commit.files[path], {"ETag": f'"{git_oid(commit.files[path])}"', **headers})


class Request:
    """One request: its `body`, `who` sent it (name, role), and the named parts `of` its path."""

    def __init__(
        self, raw: BaseHTTPRequestHandler, body: bytes, who: tuple[str, str] | None, of: dict[str, Any]
    ) -> None:
        self.command, self.body, self.who, self.of = raw.command, body, who, of
        self.owner = who[0] if who else None
        self.name = of.get("name", "")
        self.kind = (of.get("kind") or "models").removesuffix("/").removesuffix("s")
        self._range = re.fullmatch(r"bytes=(\d+)-(\d*)", raw.headers.get("Range") or "")

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body or b"{}")

    def may_write(self, owner: str) -> None:
        """Raise Refused unless the sender may write to what `owner` has."""
        if self.who is None:
            raise Refused(401, "Unauthorized", "Invalid username or password.")
        if self.who != (owner, "write"):
            raise Refused(403, "Forbidden", "You don't have the rights to write here")

    def ranged(self, content: bytes, headers: dict[str, str]) -> Reply:
        """`content`, or the part of it that was asked for."""
        headers = {"Accept-Ranges": "bytes", **headers}
        if self._range is None:
            return Reply(200, content, headers)
        first, last = int(self._range[1]), int(self._range[2] or len(content) - 1)
        span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return Reply(206, content[first : last + 1], headers | span)


def as_json(content: Any, status: int = 200) -> Reply:
    """A reply in JSON."""
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


_REPO = r"/api/(?P<kind>models|spaces|datasets)/(?P<name>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, Callable[[Hub, Request], Reply]], ...] = (
    (r"GET /api/whoami-v2", Hub._whoami),
    (r"POST /api/repos/create", Hub._create),
    (r"DELETE /api/repos/delete", Hub._delete),
    (r"POST /api/validate-yaml", Hub._validate),
    (rf"GET {_REPO}(/revision/(?P<revision>.+))?", Hub._info),
    (rf"GET {_REPO}/refs", Hub._refs),
    (rf"GET {_REPO}/tree/(?P<revision>.+)", Hub._paths),
    (rf"POST {_REPO}/paths-info/(?P<revision>.+)", Hub._paths),
    (rf"(POST|DELETE) {_REPO}/branch/(?P<revision>.+)", Hub._branch),
    (rf"POST {_REPO}/preupload/(?P<revision>.+)", Hub._preupload),
    (rf"POST {_REPO}/commit/(?P<revision>.+)", Hub._commit),
    (r"POST /(?P<kind>spaces/|datasets/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", Hub._batch),
    (r"PUT /storage/(?P<oid>\w+)", Hub._store),
    (r"(GET|HEAD) /storage/(?P<oid>\w+)", Hub._fetch),
    (
        r"(GET|HEAD) /(?P<kind>spaces/|datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        Hub._resolve,
    ),
)

_HUB = pytest.StashKey[Hub]()
_HOME = pytest.StashKey[Path]()


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before anything imports huggingface_hub, which reads its settings then."""
    made = Hub()
    home = tempfile.mkdtemp(prefix="hub-")
    early_config.stash[_HUB], early_config.stash[_HOME] = made, Path(home)
    early_config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    early_config.add_cleanup(made.close)
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        os.environ.pop(name, None)
    os.environ.update(made.environment(Path(home)))


@pytest.fixture(scope="session")
def session_hub(pytestconfig: pytest.Config) -> Hub:
    """The session's Hub, for fixtures that outlive a test; its repositories last until a test asks for `hub`."""
    return pytestconfig.stash[_HUB]


@pytest.fixture
def hub(pytestconfig: pytest.Config) -> Iterator[Hub]:
    """The session's Hub, empty, and nothing of it in the cache."""
    found = pytestconfig.stash[_HUB]
    found.reset()
    shutil.rmtree(pytestconfig.stash[_HOME], ignore_errors=True)
    yield found
    found.reset()


def main() -> None:
    """Serve until interrupted."""
    with tempfile.TemporaryDirectory(prefix="hub-") as home:
        made = Hub()
        for name, value in {**made.environment(Path(home)), "HF_TOKEN": "hf_write"}.items():
            print(f"export {name}={value}")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            made.close()


if __name__ == "__main__":
    main()
