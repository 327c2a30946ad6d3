"""The operator's settings in environment variables, checked before anything is loaded.

A setting that cannot be used ends the start with one sentence that names the variable. Otherwise nobody would notice
that a limit is missing because of a slip in its name. An empty variable counts as not set. This module does not import
Gradio, which reads some of the variables at its import.
"""

import errno
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from limits import RateLimitItem, parse_many

from src.tasks import TASKS

OURS: Final = frozenset(
    {
        "VIGIL_VISITOR_LIMIT",
        "VIGIL_TOTAL_LIMIT",
        "VIGIL_PROXIES",
        "VIGIL_HOSTS",
        "VIGIL_ENGINE",
        "VIGIL_SLIDES",
        "VIGIL_SLIDE_LIMIT",
        "VIGIL_KEEP_IDENTITY",
        "VIGIL_DICOMWEB_TOKEN",
        "VIGIL_WEIGHTS_OWNER",
        *(f"VIGIL_WEIGHTS_{task.upper()}" for task in TASKS),
        "VIGIL_WRITER_TOKEN",
        "VIGIL_WRITER_PROVIDER",
        "VIGIL_WRITER_MODEL",
        "VIGIL_WRITER_URL",
    }
)
"""All variables that begin with VIGIL_."""

SLIDE_LIMIT: Final = "VIGIL_SLIDE_LIMIT"
LEAST_SLIDE, MOST_SLIDE = 1, 50_000
"""Megabytes of an uploaded slide that the setting may allow."""

NAME, PORT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
DEFAULT_NAME, DEFAULT_PORT = "127.0.0.1", 7860
LARGEST_PORT: Final = 65_535
NOT_HERE: Final = f"{NAME} must be a name or an address of this machine."


class SettingRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """A setting that cannot be used; the message is one sentence that names the variable and repeats no value."""


@dataclass(frozen=True)
class Address:
    """The host name or IP address, and the port, on which the server listens."""

    name: str
    port: int


def _whole(low: int, high: float = float("inf")) -> Callable[[str], bool]:
    return lambda text: bool(re.fullmatch(r"[0-9]{1,9}", text)) and low <= int(text) <= high


def _rate(text: str) -> bool:
    try:
        limits = parse_many(text)
    except ValueError:
        return False
    # A limit of 0 would let one request through, because a request costs at most the whole limit.
    return len(limits) == 1 and limits[0].amount > 0


def _address(text: str) -> bool:
    return bool(re.match(r"https?://[^/\s@]+(/|$)", text))


_RATE: Final = (_rate, "a rate of 1 or more, such as 120/minute")
_COUNT: Final = (_whole(1), "a whole number, 1 or more")


def _unset(effect: str) -> tuple[Callable[[str], bool], str]:
    """For a variable with which Gradio would break a promise of SECURITY.md. Gradio takes some for set at any value."""
    return lambda _: False, f"left unset, because it {effect}"


CHECKED: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "VIGIL_VISITOR_LIMIT": _RATE,
    "VIGIL_TOTAL_LIMIT": _RATE,
    "VIGIL_SLIDES": (lambda text: Path(text).is_dir(), "a folder"),
    SLIDE_LIMIT: (
        _whole(LEAST_SLIDE, MOST_SLIDE),
        f"a whole number of megabytes, {LEAST_SLIDE} to {MOST_SLIDE}, without a unit",
    ),
    "VIGIL_KEEP_IDENTITY": (_whole(0, 1), "0 or 1"),
    "VIGIL_PROXIES": (_whole(0), "a whole number, 0 or more"),
    "VIGIL_WRITER_URL": (_address, "an address that begins with http:// or https://"),
    PORT: (_whole(1, LARGEST_PORT), f"a port, 1 to {LARGEST_PORT}"),
    "GRADIO_NODE_SERVER_PORT": (_whole(1, LARGEST_PORT), f"a port, 1 to {LARGEST_PORT}"),
    "GRADIO_NUM_PORTS": _COUNT,
    "GRADIO_NODE_NUM_PORTS": _COUNT,
    "GRADIO_NUM_WORKERS": (_whole(0), "a whole number, 0 or more"),
    "GRADIO_DEBUG": (_whole(0, 1), "0 or 1"),
    "GRADIO_ALLOWED_PATHS": _unset("lets visitors read other files of this machine"),
    "GRADIO_SHARE": _unset("opens the page to the internet through another server"),
    "GRADIO_LOCAL_DEV_MODE": _unset("lets pages of other sites call this server"),
    "GRADIO_VIBE_MODE": _unset("lets visitors change the code"),
}
"""Name -> a check of its value, and a description of valid values: our variables, those that Gradio parses, and those
with which it would break a promise."""


def check() -> Address:
    """Check every setting; returns the address to listen on. Raises SettingRefused."""
    for name in sorted(os.environ):
        if name.startswith("VIGIL_") and name not in OURS:
            raise SettingRefused(f"Vigil has no setting {name}. Its settings are {', '.join(sorted(OURS))}.")
        if name in OURS or name.startswith("GRADIO_"):
            value = os.environ[name].strip()
            if not value:
                del os.environ[name]  # Gradio would parse it as a number
                continue
            fits, wanted = CHECKED.get(name, (bool, ""))
            if not fits(value):
                raise SettingRefused(f"{name} must be {wanted}.")
    slide_limit()
    address = Address(os.environ.get(NAME, DEFAULT_NAME), int(os.environ.get(PORT, DEFAULT_PORT)))
    listen(address)
    return address


def rate(name: str, default: str) -> RateLimitItem:
    """The rate limit in a variable. Raises SettingRefused."""
    value = os.environ.get(name, "").strip() or default
    if not _rate(value):
        raise SettingRefused(f"{name} must be {_RATE[1]}.")
    return parse_many(value)[0]


def count(name: str, default: int) -> int:
    """The whole number in a variable, 0 or more. Raises SettingRefused."""
    value = os.environ.get(name, "").strip() or str(default)
    fits, wanted = CHECKED[name]
    if not fits(value):
        raise SettingRefused(f"{name} must be {wanted}.")
    return int(value)


def slide_limit() -> int:
    """Bytes of a slide that a visitor may upload; 0 if none may. Raises SettingRefused."""
    megabytes = count(SLIDE_LIMIT, 0) if os.environ.get(SLIDE_LIMIT, "").strip() else 0
    if megabytes and "SPACE_ID" in os.environ:
        raise SettingRefused(
            f"{SLIDE_LIMIT} must be left unset on a Space, because every visitor of a public page could then fill its "
            "disk and keep its processors busy."
        )
    return megabytes * 10**6


def folder(name: str) -> Path | None:
    """The folder in a variable; None where it is not set. Raises SettingRefused."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    fits, wanted = CHECKED[name]
    if not fits(value):
        raise SettingRefused(f"{name} must be {wanted}.")
    return Path(value)


def listen(address: Address) -> None:
    """Listen on this address for a moment, to test it. Raises SettingRefused if that fails.

    Gradio would use the next free port instead. Visitors of the intended port would then see another program.
    """
    try:
        found = socket.getaddrinfo(address.name.strip("[]"), address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingRefused(NOT_HERE) from error
    reasons = [_error_of(family, socket_address) for family, *_, socket_address in found]
    if errno.EADDRINUSE in reasons:
        raise SettingRefused(
            f"{PORT}: another program listens on port {address.port}; set it to a free port, or end that program."
        )
    if all(reasons):
        forbidden = f"{PORT}: only an administrator may listen on port {address.port}."
        raise SettingRefused(forbidden if errno.EACCES in reasons else NOT_HERE)


def _error_of(family: int, socket_address: Any) -> int:
    """The system's error number for an attempt to listen on this address; 0 if it succeeds."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            if os.name == "posix":  # as the server does; on Windows it would let two programs share a port
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind(socket_address)
            tried.listen()
    except OSError as error:
        return error.errno or errno.EIO
    return 0
