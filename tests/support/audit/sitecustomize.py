"""Loaded by Python itself into every process of an app under test: tests/support/app.py puts this folder on its path.

Writes into the file that AUDIT_FILE names: `audited PID` where a process starts, then a line for each address of
another machine that Python connects to or asks the name service for, and for each use of torch.load, which unpickles
and is refused. Connections that a native library makes by itself are not seen.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

OWN = ("localhost", "0.0.0.0", "::", "")


def _is_own(host: Any) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
    return name in OWN or name.startswith(("127.", "::1", "::ffff:127."))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        # A path (AF_UNIX) or, for a socket that is connected already, None.
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_own(host):
        _write(f"{event} {host}")


def _write(line: str) -> None:
    with open(os.environ["AUDIT_FILE"], "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not loaded yet
        file.write(line + "\n")


def _refuse_pickles(*_: object, **__: object) -> None:
    _write("torch.load")
    raise RuntimeError("torch.load was called")


class _TorchFinder(MetaPathFinder):
    """Replaces torch.load when a process imports torch. The app's own process never imports it."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            module.load = _refuse_pickles

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "AUDIT_FILE" in os.environ:
    _write(f"audited {os.getpid()}")
    sys.addaudithook(_audit)
    sys.meta_path.insert(0, _TorchFinder())
