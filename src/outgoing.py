"""Outgoing connections: the server has none but to itself, unless our own code asks for one.

Gradio can download what a request names, and a later version may find another way to. So it is not a client that is
guarded but the process: from `shut` on, Python refuses every look-up of a name and every connection (its audit hooks
see those of any library), except within `permitted`. What does not go through Python's socket module is not seen.
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
    """Something tried to reach another address; every client reports it as a connection that failed."""


@contextmanager
def permitted() -> Iterator[None]:
    """Let this thread, or this task of an event loop, reach other addresses while the block runs."""
    token = _permitted.set(True)
    try:
        yield
    finally:
        _permitted.reset(token)


def shut(own: Own = tuple) -> None:
    """Refuse from now on, for as long as the process lives, whatever leaves it outside `permitted`.

    `own` gives the addresses and ports that this server listens on and may itself connect to: its MCP server asks its
    API so.
    """

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if (event in LOOK_UPS or event in CONNECTIONS) and not _permitted.get() and leaves(event, arguments, own):
            raise OutgoingError("This server does not reach other addresses.")

    sys.addaudithook(watch)


def leaves(event: str, arguments: tuple[Any, ...], own: Own = tuple) -> bool:
    """Whether one of LOOK_UPS or CONNECTIONS, with its arguments as Python's audit events have them, asks for anything
    but this server."""
    if event in LOOK_UPS:
        # An address needs no looking up, and without a host it is for listening.
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
