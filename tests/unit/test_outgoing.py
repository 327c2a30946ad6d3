"""src/outgoing.py: no client that Gradio has or could have can connect to another machine."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from src.outgoing import leaves
from tests.support.app import ROOT
from tests.support.canary import Canary

pytestmark = pytest.mark.slow

CLIENTS = {
    "gradio's download": "gradio.processing_utils.ssrf_protected_download(URL, FOLDER)",
    "gradio's download by its older name": "gradio.processing_utils.save_url_to_cache(URL, FOLDER)",
    "gradio's download of a trusted address": "gradio.processing_utils.unsafe_download(URL, FOLDER)",
    "gradio's get": "asyncio.run(gradio.processing_utils.async_ssrf_protected_get(URL))",
    "a component's cache": "gr.Image().move_resource_to_block_cache(URL)",
    "a value of a component": "asyncio.run(gradio.processing_utils.async_move_files_to_cache(FILE, gr.Textbox()))",
    "the same, as an answer": "gradio.processing_utils.move_files_to_cache(FILE, gr.Textbox(), postprocess=True)",
    "a client of another app": "gradio_client.Client(URL, verbose=False)",
    "gradio_client's download": "gradio_client.utils.download_tmp_copy_of_file(URL)",
    "safehttpx": "asyncio.run(safehttpx.get(URL))",
    "safehttpx, trusted": "asyncio.run(safehttpx.get(URL, _transport=False))",
    "httpx": "httpx.get(URL)",
    "httpx's asynchronous client": "asyncio.run(httpx.AsyncClient().get(URL))",
    "httpx2": "httpx2.get(URL)",
    "requests": "requests.get(URL, timeout=9)",
    "urllib3": "urllib3.request('GET', URL, retries=False)",
    "urlopen": "urllib.request.urlopen(URL, timeout=9)",
    "http.client": "http.client.HTTPConnection(HOST, PORT).request('GET', '/')",
    "the Hub's client": "huggingface_hub.HfApi(endpoint=URL).model_info('a/b')",
    "a socket": "socket.create_connection((HOST, PORT))",
    "a socket that does not raise": "ok(socket.socket().connect_ex((HOST, PORT)))",
    "a stream": "asyncio.run(asyncio.open_connection(HOST, PORT))",
    "a stream from another thread": "concurrent.futures.ThreadPoolExecutor().submit(httpx.get, URL).result()",
    "a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', (HOST, PORT))",
    "a name": "ok(HOST[0].isdigit() or socket.gethostbyname(HOST))",
}
SCRIPT = """
import asyncio, concurrent.futures, http.client, json, socket, sys, urllib.request
import gradio, gradio as gr, gradio_client, httpx, httpx2, huggingface_hub, requests, safehttpx, urllib3
from src import outgoing

def ok(value):
    if value:
        raise ConnectionError

def outcome(code, inside):
    try:
        eval(code, {**globals(), **inside})
    except BaseException as error:
        chain, each = [], error
        while each is not None:
            chain.append(type(each).__name__)
            each = each.__cause__ or each.__context__
        return chain
    return []

calls, folder, addresses, shut = json.loads(sys.argv[1])
asyncio.run(asyncio.sleep(0))
if shut:
    outgoing.shut()
found = {}
for name, code in calls.items():
    for url in addresses:
        host, port = urllib3.util.parse_url(url).host, urllib3.util.parse_url(url).port or 80
        file = {"path": url, "meta": {"_type": "gradio.FileData"}}
        inside = {"URL": url, "HOST": host, "PORT": port, "FOLDER": folder, "FILE": file}
        found[f"{name}: {url}"] = outcome(code, inside)
print(json.dumps(found))
"""


def tried(folder: Path, addresses: list[str], shut: bool, calls: dict[str, str]) -> dict[str, list[str]]:
    """The kinds of error, from the last to the first, that each call of a process of its own ends in."""
    command = [sys.executable, "-c", SCRIPT, json.dumps([calls, str(folder), addresses, shut])]
    settings = {**os.environ, "GRADIO_TEMP_DIR": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.listening.close()


def test_no_client_reaches_anything(canary: Canary, tmp_path: Path) -> None:
    addresses = ["http://n1.vigil.invalid/x.png", f"http://127.0.0.1:{canary.port}/x.png", "http://168.63.129.16/x.png"]
    found = tried(tmp_path, addresses, True, CLIENTS)
    assert len(found) == len(CLIENTS) * len(addresses)
    assert [what for what, chain in found.items() if not chain] == []
    assert canary.hits == 0
    unforeseen = {what: chain for what, chain in found.items() if "OutgoingError" not in chain}
    # safehttpx itself refuses loopback, before it connects; others say in their own words that nothing came of it.
    assert all("127.0.0.1" in what or chain for what, chain in unforeseen.items())
    assert len(unforeseen) < len(found) / 3, unforeseen


def test_the_same_clients_reach_the_canary_where_nothing_is_shut(canary: Canary, tmp_path: Path) -> None:
    plain = {name: CLIENTS[name] for name in ("httpx", "httpx2", "requests", "urlopen", "a socket", "a stream")}
    tried(tmp_path, [f"http://127.0.0.1:{canary.port}/x.png"], False, plain)
    assert canary.hits >= len(plain)
    shut = {name: f"exec('with outgoing.permitted(): {code}')" for name, code in plain.items() if "'" not in code}
    before = canary.hits
    tried(tmp_path, [f"http://127.0.0.1:{canary.port}/x.png"], True, shut)
    assert canary.hits >= before + len(shut), "what is permitted is not refused"


OWN = (("127.0.0.1", 7860),)


@pytest.mark.parametrize(
    ("event", "arguments", "expected"),
    [
        ("socket.connect", (None, ("127.0.0.1", 7860)), False),
        ("socket.connect", (None, ("::1", 7860, 0, 0)), False),
        ("socket.connect", (None, ("127.0.0.1", 7861)), True),
        ("socket.connect", (None, ("192.0.2.7", 7860)), True),
        ("socket.connect", (None, ("0.0.0.0", 7860)), True),
        ("socket.connect", (None, "/run/a.socket"), False),
        ("socket.sendto", (None, ("192.0.2.7", 53)), True),
        ("socket.sendmsg", (None, None), False),
        ("socket.getaddrinfo", ("vigil.invalid", 80, 0, 0, 0), True),
        ("socket.getaddrinfo", (b"vigil.invalid", 80, 0, 0, 0), True),
        ("socket.getaddrinfo", ("LOCALHOST", 80, 0, 0, 0), False),
        ("socket.getaddrinfo", (None, 80, 0, 0, 0), False),
        ("socket.getaddrinfo", ("192.0.2.7", 80, 0, 0, 0), False),
        ("socket.gethostbyname", ("vigil.invalid",), True),
    ],
)
def test_what_leaves(event: str, arguments: tuple[Any, ...], expected: bool) -> None:
    assert leaves(event, arguments, lambda: OWN) is expected


# Of what Gradio may import, reviewed for a way out: each connects by Python's socket module, if at all.
THIRD = {
    "IPython", "PIL", "altair", "anyio", "authlib", "bokeh", "brotli", "diffusers", "fastapi", "gradio",
    "gradio_client", "groovy", "hf_gradio", "httpx", "huggingface_hub", "jinja2", "markupsafe", "matplotlib",
    "mcp", "numpy", "openai", "orjson", "packaging", "pandas", "polars", "psutil", "pydantic", "pydantic_core",
    "pydub", "pyodide", "python_multipart", "pytz", "rich", "safehttpx", "semantic_version", "spaces",
    "starlette", "tomlkit", "torch", "transformers", "transformers_js_py", "twine", "typer",
    "typing_extensions", "uvicorn", "yaml", "discord", "fsspec",
}  # fmt: skip
# Where it may start a program, which no audit hook of ours is in: ffmpeg, node, its own tunnel, git and pip.
STARTED = {
    "_vendor/ffmpy/ffmpy.py", "audio_stream_encoder.py", "components/video.py", "node_server.py", "processing_utils.py",
    "tunneling.py", "utils.py",
}  # fmt: skip


def imports(package: str) -> Iterator[tuple[str, str]]:
    """File and module of every import in an installed package."""
    spec = find_spec(package)
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((str(file.relative_to(root)), each.name) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(file.relative_to(root)), node.module or ""


def test_an_upgraded_gradio_has_no_other_way_out() -> None:
    found = [each for package in ("gradio", "gradio_client", "safehttpx") for each in imports(package)]
    third = {module.partition(".")[0] for _, module in found} - set(sys.stdlib_module_names)
    assert third - THIRD == set(), "review these for a way out that Python's audit hooks do not see"
    started = {file for file, module in found if module == "subprocess" and not file.startswith("cli/")}
    assert started - STARTED == set(), "review these for a program that fetches"


def test_no_client_is_installed_that_python_does_not_see() -> None:
    installed = (ROOT / "pre-requirements.txt").read_text(encoding="utf-8").lower()
    for native in ("uvloop", "pycurl", "curl-cffi", "curl_cffi", "httptools", "pyreqwest", "primp", "rnet"):
        assert f"\n{native}==" not in installed, native
