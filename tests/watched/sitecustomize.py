"""Loaded by Python itself into every process of an app under test (tests/conftest.py puts this folder on its path).

Writes a line into the file that WATCHED names for each address that is not this machine's own and that Python connects
to or asks the name service for. torch.load, which unpickles, cannot be called. What a native library does by itself is
not seen.
"""

import os
import sys
from typing import Any

OWN = ("localhost", "0.0.0.0", "::", "")


def _is_own(host: Any) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
    return name in OWN or name.startswith(("127.", "::1", "::ffff:127."))


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        # A path (AF_UNIX) or, for what is connected already, None.
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_own(host):
        _write(f"{event} {host}")


def _write(line: str) -> None:
    with open(os.environ["WATCHED"], "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not loaded yet
        file.write(line + "\n")


def _no_pickles(*_: object, **__: object) -> None:
    _write("torch.load")
    raise RuntimeError("torch.load was called")


if "WATCHED" in os.environ:
    sys.addaudithook(_watch)
    import torch

    torch.load = _no_pickles
