"""Host, Origin and framing (src/server/hosts.py): rebound names, other sites' pages, requests with two lengths."""

import socket
from collections.abc import Mapping

import pytest

from src.server.hosts import FOREIGN_HOST, FOREIGN_ORIGIN, TWO_LENGTHS, AllowedHosts, Hosts
from tests.support.asgi import Took, connected, serving

VARIABLES = ("VIGIL_HOSTS", "SPACE_HOST", "GRADIO_SERVER_NAME")
LAPTOP: Mapping[str, str] = {}
SPACE = {"SPACE_HOST": "owner-vigil.hf.space", "GRADIO_SERVER_NAME": "0.0.0.0"}
CLINIC = {"VIGIL_HOSTS": "vigil.example.org, 192.0.2.7", "GRADIO_SERVER_NAME": "0.0.0.0"}
PROXIED = {"VIGIL_HOSTS": "Vigil.example.org"}
NETWORK = {"GRADIO_SERVER_NAME": "0.0.0.0"}
LOOPBACK = ("localhost", "localhost:7860", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:7860", "127.8.9.10:5", "[::1]:7860")
REBOUND = (
    *("evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io", "localhost@evil.example"),
    *(
        "evil.example#localhost",
        "evil.example/localhost",
        "127.1",
        "0x7f000001",
        "[::1].evil.example",
        "::1",
        "",
        ":80",
    ),
    *("localhost:", "localhost:x", "localhost:123456", "localhost,evil.example", "localhost evil.example"),
)


def allowed(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> AllowedHosts:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return AllowedHosts.from_environment()


@pytest.mark.parametrize("environment", [LAPTOP, SPACE, CLINIC, PROXIED, NETWORK])
def test_loopback_names_are_always_allowed_and_a_rebound_name_never(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = allowed(monkeypatch, environment)
    assert [host for host in LOOPBACK if hosts.refusal("GET", [host], [])] == []
    assert [host for host in REBOUND if hosts.refusal("GET", [host], []) is not FOREIGN_HOST] == []
    for several in ([], ["localhost", "localhost"], ["localhost", "evil.example"]):
        assert hosts.refusal("GET", several, []) is FOREIGN_HOST


@pytest.mark.parametrize(
    ("environment", "taken", "refused"),
    [
        (LAPTOP, [], ["192.0.2.7", "0.0.0.0", "[2001:db8::1]", "owner-vigil.hf.space", socket.gethostname()]),
        (SPACE, ["owner-vigil.hf.space", "Owner-Vigil.HF.space:443", "10.0.0.7:7860"], ["other-vigil.hf.space"]),
        (CLINIC, ["vigil.example.org:8080", "192.0.2.7"], ["192.0.2.8", "example.org", socket.gethostname()]),
        (PROXIED, ["vigil.example.org"], ["192.0.2.7", "www.vigil.example.org"]),
        (NETWORK, ["192.0.2.7:7860", "[2001:db8::1]:7860", socket.gethostname()], ["owner-vigil.hf.space"]),
        ({"GRADIO_SERVER_NAME": "[::1]"}, [], ["192.0.2.7"]),
        ({"GRADIO_SERVER_NAME": "clinic.lan"}, ["clinic.lan:7860", "192.0.2.7"], ["clinic.example.org"]),
    ],
)
def test_which_other_names_are(
    environment: Mapping[str, str], taken: list[str], refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = allowed(monkeypatch, environment)
    assert [host for host in taken if hosts.refusal("GET", [host], [])] == []
    assert [host for host in refused if hosts.refusal("GET", [host], []) is None] == []


@pytest.mark.parametrize("wrong", ["https://vigil.example.org", "vigil.example.org:80", "*", "a b"])
def test_a_list_that_is_none_is_refused_at_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="VIGIL_HOSTS"):
        allowed(monkeypatch, {"VIGIL_HOSTS": wrong})


@pytest.mark.parametrize(
    ("environment", "host", "own", "foreign"),
    [
        (
            LAPTOP,
            "localhost:7860",
            ["http://localhost:7860"],
            ["null", "", "http://localhost:3000", "http://127.0.0.1:7860", "https://evil.example", "file://"],
        ),
        (SPACE, "owner-vigil.hf.space", ["https://owner-vigil.hf.space"], ["https://huggingface.co", "null"]),
        # A proxy that asks by the address alone
        (PROXIED, "127.0.0.1:7860", ["https://vigil.example.org"], ["https://vigil.example.org.evil.example"]),
        (
            NETWORK,
            "192.0.2.7",
            ["http://192.0.2.7", "http://192.0.2.7:80"],
            ["http://192.0.2.8", "https://192.0.2.7:1"],
        ),
    ],
)
def test_only_the_pages_own_origin_may_post(
    environment: Mapping[str, str], host: str, own: list[str], foreign: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = allowed(monkeypatch, environment)
    for method in ("POST", "DELETE"):
        assert [one for one in own if hosts.refusal(method, [host], [one])] == []
        assert [one for one in foreign if hosts.refusal(method, [host], [one]) is not FOREIGN_ORIGIN] == []
        assert hosts.refusal(method, [host], []) is None, "no browser sent it"
        assert hosts.refusal(method, [host], [own[0], foreign[0]]) is FOREIGN_ORIGIN
    assert hosts.refusal("GET", [host], foreign) is None, "which the browser does not let that page read"


def test_a_request_with_two_lengths_is_refused_and_its_connection_closed() -> None:
    app = Took()
    with serving(Hosts(app, AllowedHosts())) as (url, _), connected(url) as line:
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        line.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            % (5 + len(smuggled))
            + smuggled
        )
        said = b""
        while part := line.recv(9999):
            said += part
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert TWO_LENGTHS.sentence.encode() in said
    assert app.asked == 0
