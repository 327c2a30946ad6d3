"""Outgoing connections: the process connects to itself only, unless our own code permits more.

Gradio can download an address that a request names, and a later version may do so in another way. Therefore not one
client is guarded, but the whole process. After `shut`, Python's audit hooks refuse every look-up of a name and every
connection by any library, except within `permitted`. They do not see connections outside Python's socket module.
"""

import ipaddress
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

LOOK_UPS: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
CONNECTIONS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

Own = Callable[[], Collection[tuple[str, int]]]

_permitted: ContextVar[bool] = ContextVar("permitted", default=False)


class OutgoingError(PermissionError):
    """Some code tried to reach another machine. HTTP clients report it as a failed connection."""


@contextmanager
def permitted() -> Iterator[None]:
    """Let this thread, or this task of an event loop, reach other machines within the block."""
    token = _permitted.set(True)
    try:
        yield
    finally:
        _permitted.reset(token)


def shut(own: Own = tuple) -> None:
    """Refuse, until the process ends, every connection to another machine outside `permitted`.

    `own` returns the addresses and ports on which this server listens. The process may connect to them: its MCP server
    calls its API that way.
    """

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if (event in LOOK_UPS or event in CONNECTIONS) and not _permitted.get() and leaves(event, arguments, own):
            raise OutgoingError("This server connects to no other machine.")

    sys.addaudithook(watch)


def leaves(event: str, arguments: tuple[Any, ...], own: Own = tuple) -> bool:
    """Whether an event of LOOK_UPS or CONNECTIONS, with its arguments as in Python's audit table, would reach anything
    but this server."""
    if event in LOOK_UPS:
        # An IP address is not looked up, and an empty name is for listening.
        name = _text(arguments[0] or "")
        return name not in ("", "localhost", os.environ.get("GRADIO_SERVER_NAME", "").lower()) and not _is_address(name)
    if not isinstance(arguments[1], tuple):
        return False  # a path on this machine, or a socket that was connected before
    host, port = _text(arguments[1][0]), arguments[1][1]
    if host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        return port not in {port for _, port in own()}
    return (host, port) not in own()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _text(host: str | bytes) -> str:
    return (host.decode("latin-1") if isinstance(host, bytes) else str(host)).lower()
