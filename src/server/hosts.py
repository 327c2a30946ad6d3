"""Host and Origin: the names by which visitors may reach this server, and the pages that may post to it.

Another site can let its own name lead to 127.0.0.1 (DNS rebinding). Its page can then call a laptop's server as if it
were its own; only the Host header shows it. So there is an allow-list of names: those of the loopback interface, and
those that VIGIL_HOSTS lists with commas between them, or else those of a Space in SPACE_HOST. A server that listens to
other machines and has neither setting also allows IP addresses and the machine's name: DNS cannot redirect them.
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

FOREIGN_HOST: Final = Refusal(421, "This server does not answer to that name; VIGIL_HOSTS lists further names.")
FOREIGN_ORIGIN: Final = Refusal(403, "Pages of other sites may not use this server.")
TWO_LENGTHS: Final = Refusal(400, "A request must not have both Content-Length and Transfer-Encoding.")

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_AUTHORITY = r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
_HOST: Final = re.compile(_AUTHORITY)
_ORIGIN: Final = re.compile(rf"(?P<scheme>https?)://{_AUTHORITY}")


@dataclass(frozen=True)
class AllowedHosts:
    """The allowed `names` in lower case, besides those of loopback. `addresses`: whether any IP address is allowed."""

    names: frozenset[str] = frozenset()
    addresses: bool = False

    @classmethod
    def from_environment(cls) -> Self:
        """The hosts that VIGIL_HOSTS, SPACE_HOST and GRADIO_SERVER_NAME allow. Raises ValueError."""
        named = _listed("VIGIL_HOSTS")
        if named:
            return cls(named)
        listening = os.environ.get("GRADIO_SERVER_NAME", "").strip("[]").lower()
        if not listening or is_loopback(listening):
            return cls(_listed("SPACE_HOST"))
        return cls(_listed("SPACE_HOST") or frozenset({listening, socket.gethostname().lower()}), addresses=True)

    def refusal(self, method: str, host: Sequence[str], origin: Sequence[str]) -> Refusal | None:
        """The refusal of a request with these Host and Origin headers, if it is refused."""
        requested = _HOST.fullmatch(host[0].lower()) if len(host) == 1 else None
        if requested is None or not self._allows(_name(requested)):
            return FOREIGN_HOST
        if method in ("GET", "HEAD") or all(self._is_own(each.lower(), requested) for each in origin):
            return None
        return FOREIGN_ORIGIN

    def _allows(self, name: str) -> bool:
        return is_loopback(name) or name in self.names or (self.addresses and _address(name) is not None)

    def _is_own(self, origin: str, requested: re.Match[str]) -> bool:
        page = _ORIGIN.fullmatch(origin)
        if page is None:
            return False
        if _name(page) in self.names:  # a proxy may have changed Host, and the port
            return True
        port = DEFAULT_PORTS[page["scheme"]]
        return (_name(page), int(page["port"] or port)) == (_name(requested), int(requested["port"] or port))


def is_loopback(name: str) -> bool:
    """Whether a name, in lower case and without a port, always leads to this machine."""
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _listed(variable: str) -> frozenset[str]:
    """The names that an environment variable lists. Raises ValueError for anything else in it."""
    names = [name.strip().lower() for name in os.environ.get(variable, "").split(",") if name.strip()]
    found = [_HOST.fullmatch(name) for name in names]
    if any(one is None or one["port"] for one in found):
        raise ValueError(f"{variable} must list names without ports, separated by commas.")
    return frozenset(_name(one) for one in found if one)


def _name(authority: re.Match[str]) -> str:
    return authority["address"] or authority["name"]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Hosts:
    """ASGI middleware that refuses requests for another host, and those of other sites' pages that change anything. It
    refuses a request with two lengths, too: a proxy in front may use the other one, and see another next request."""

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
