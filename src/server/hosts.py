"""Host and Origin: by which names this server may be asked, and from which pages.

A page elsewhere can have its own name lead to 127.0.0.1 (DNS rebinding) and then ask a laptop's server as if it were
the page's own; only the Host header tells. Names are therefore allowed, not forbidden: those of this machine's loopback
always; beside them VIGIL_HOSTS (with commas between), or else a Space's own in SPACE_HOST. Where the server listens to
others and neither is set, addresses are allowed too, and this machine's name: neither can be made to lead elsewhere.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server.refusal import Refusal, answer

FOREIGN_HOST: Final = Refusal(421, "This server does not go by that name; VIGIL_HOSTS lists the names it goes by.")
FOREIGN_ORIGIN: Final = Refusal(403, "Another site's page may not ask this server.")
TWO_LENGTHS: Final = Refusal(400, "A request may say in one way only how long it is.")

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_AUTHORITY = r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
_HOST: Final = re.compile(_AUTHORITY)
_ORIGIN: Final = re.compile(rf"(?P<scheme>https?)://{_AUTHORITY}")


@dataclass(frozen=True)
class AllowedHosts:
    """The `names`, in lower case, beside loopback's; `addresses` is whether any IP address will do."""

    names: frozenset[str] = frozenset()
    addresses: bool = False

    @classmethod
    def from_environment(cls) -> Self:
        """As VIGIL_HOSTS, SPACE_HOST and GRADIO_SERVER_NAME say. Raises ValueError."""
        named = _listed("VIGIL_HOSTS")
        if named:
            return cls(named)
        listening = os.environ.get("GRADIO_SERVER_NAME", "").strip("[]").lower()
        if not listening or is_loopback(listening):
            return cls(_listed("SPACE_HOST"))
        return cls(_listed("SPACE_HOST") or frozenset({listening, socket.gethostname().lower()}), addresses=True)

    def refusal(self, method: str, host: Sequence[str], origin: Sequence[str]) -> Refusal | None:
        """What a request with these Host and Origin headers is refused with, if it is."""
        asked = _HOST.fullmatch(host[0].lower()) if len(host) == 1 else None
        if asked is None or not self._allows(_name(asked)):
            return FOREIGN_HOST
        if method in ("GET", "HEAD") or all(self._is_own(each.lower(), asked) for each in origin):
            return None
        return FOREIGN_ORIGIN

    def _allows(self, name: str) -> bool:
        return is_loopback(name) or name in self.names or (self.addresses and _address(name) is not None)

    def _is_own(self, origin: str, asked: re.Match[str]) -> bool:
        page = _ORIGIN.fullmatch(origin)
        if page is None:
            return False
        if _name(page) in self.names:  # a proxy may have changed Host, and the port
            return True
        port = DEFAULT_PORTS[page["scheme"]]
        return (_name(page), int(page["port"] or port)) == (_name(asked), int(asked["port"] or port))


def is_loopback(name: str) -> bool:
    """Whether a name, in lower case and without a port, can lead to this machine alone."""
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _listed(variable: str) -> frozenset[str]:
    """The names that an environment variable lists; raises ValueError where it lists anything else."""
    names = [name.strip().lower() for name in os.environ.get(variable, "").split(",") if name.strip()]
    found = [_HOST.fullmatch(name) for name in names]
    if any(one is None or one["port"] for one in found):
        raise ValueError(f"{variable} must list names without ports, with commas between.")
    return frozenset(_name(one) for one in found if one)


def _name(authority: re.Match[str]) -> str:
    return authority["address"] or authority["name"]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Hosts:
    """ASGI middleware that refuses a request for another host, and what another site's page posts or deletes; also one
    whose length a proxy in front may have understood otherwise, and with it where the next request begins."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self.app = app
        self.allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = self.allowed.refusal(scope["method"], headers.getlist("host"), headers.getlist("origin"))
        if "content-length" in headers and "transfer-encoding" in headers:
            refusal = TWO_LENGTHS
        if refusal:
            await answer(refusal, scope, receive, send)
        else:
            await self.app(scope, receive, send)
