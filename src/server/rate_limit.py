"""The rate limits of one visitor and of all visitors together.

VIGIL_VISITOR_LIMIT and VIGIL_TOTAL_LIMIT set the limits on images, such as `120/minute`. VIGIL_PROXIES says how many
proxies stand in front of the server.
"""

import ipaddress
import math
import os
import secrets
import time
from dataclasses import dataclass
from typing import Final, Self

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server import settings
from src.server.bodies import LIMIT
from src.server.refusal import UPLOAD, Refusal, answer
from src.server.routes import MOUNTED, PAGES, SLIDE_UPLOAD, VIEWER, is_call, is_slide

VISITOR: Final = "120/minute"
"""Images that one visitor may have read. The same number may be uploaded. Two cores read 780 a minute (dev/LOG.md)."""
TOTAL: Final = "600/minute"
"""Images that all visitors together may have read. Two cores could read a quarter more, which the page needs."""
LIGHT: Final = "4000/minute"
"""Units of UNIT_SECONDS that one visitor may use for requests without a call, and the same for calls that read no
image. Each of the two is a fifth of one core. Thirty people behind one address can open the page at once; each of them
needs about a hundred requests and PAGE_UNITS.
"""
UNIT_SECONDS: Final = 0.003
PAGE_UNITS: Final = 30
"""The cost of the page itself in units. Gradio writes its whole configuration for every request, which takes 70 ms."""
TILE_UNITS: Final = 10
"""The cost of a tile of the slide viewer in units: it is decoded, scaled and encoded in 30 ms."""
MOST_UNITS: Final = 100
"""The largest cost of one call in units. Its time is wall-clock time, so a busy machine lengthens it."""

VOUCHER: Final = b"x-vigil-visitor"
"""The header by which this process names the visitor to itself. Gradio's MCP server repeats every call over loopback,
with the headers that it received."""

TOO_OFTEN: Final = "You sent too many requests in the last minute; wait a moment, then try again."
BUSY: Final = "Too many people are using this page; wait a moment, then try again."


@dataclass(frozen=True)
class Allowed:
    """The limits on images, and the number of proxies.

    Each of our `proxies` adds, at the right of X-Forwarded-For, the address from which the request reached it. The
    visitor sends whatever stands further left, and can write anything there.
    """

    visitor: RateLimitItem
    total: RateLimitItem
    proxies: int

    @classmethod
    def from_environment(cls) -> Self:
        """The limits that the environment sets. A Space has one proxy, other servers have none by default.

        Raises SettingRefused.
        """
        return cls(
            settings.rate("VIGIL_VISITOR_LIMIT", VISITOR),
            settings.rate("VIGIL_TOTAL_LIMIT", TOTAL),
            settings.count("VIGIL_PROXIES", 1 if "SPACE_ID" in os.environ else 0),
        )


class RateLimits:
    """Counts requests by their visitor. A refused request counts for nothing, so it prolongs no wait."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._light = parse(LIGHT)

    def light(self, visitor: str, units: int = 1) -> Refusal | None:
        """Count a request without a call; returns its refusal, if it is refused."""
        return self._hit(self._light, TOO_OFTEN, units, "light", visitor)

    def upload(self, visitor: str, megabytes: int = 1) -> Refusal | None:
        """Count an upload; returns its refusal, if it is refused."""
        return self._heavy("upload", visitor, megabytes)

    def images(self, visitor: str, count: int = 1) -> Refusal | None:
        """Count a call that reads so many images; returns its refusal, if it is refused."""
        return self._heavy("images", visitor, count)

    def call(self, visitor: str) -> Refusal | None:
        """Check, without counting, whether the visitor may call any function; returns the refusal, if not."""
        if self._limiter.test(self._light, "call", visitor):
            return None
        return self._refusal(self._light, TOO_OFTEN, "call", visitor)

    def charge(self, visitor: str, seconds: float) -> None:
        """Count a call that read no image by the seconds that it took."""
        left = self._limiter.get_window_stats(self._light, "call", visitor).remaining
        units = min(max(1, round(seconds / UNIT_SECONDS)), MOST_UNITS, left)
        self._limiter.hit(self._light, "call", visitor, cost=units)

    def _heavy(self, kind: str, visitor: str, cost: int) -> Refusal | None:
        # The visitor's own limit first: a visitor who is refused by it takes nothing from the others.
        own = self._hit(self.allowed.visitor, TOO_OFTEN, cost, kind, visitor)
        return own or self._hit(self.allowed.total, BUSY, cost, kind)

    def _hit(self, limit: RateLimitItem, sentence: str, cost: int, *key: str) -> Refusal | None:
        if self._limiter.hit(limit, *key, cost=min(cost, limit.amount)):
            return None
        return self._refusal(limit, sentence, *key)

    def _refusal(self, limit: RateLimitItem, sentence: str, *key: str) -> Refusal:
        reset = self._limiter.get_window_stats(limit, *key).reset_time
        return Refusal(429, sentence, max(1, math.ceil(reset - time.time())))


def client_network(scope: Scope, proxies: int) -> str:
    """The IPv4 address that a request came from, or the /64 network of an IPv6 address, as its owner has all of them.

    Requests without a valid address all count as one visitor, "unknown".
    """
    peer = scope["client"][0] if scope["client"] else ""
    if proxies:
        values = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        forwarded = [one.strip() for one in ",".join(values).split(",")]
        if len(forwarded) >= proxies:
            peer = forwarded[-proxies]
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def visitor_of(scope: Scope) -> str:
    """The visitor of a request that came through Visitors."""
    return scope["visitor"]


def is_repeated(scope: Scope) -> bool:
    """Whether the MCP server repeats, over loopback, a call that was counted when it arrived."""
    return scope["repeated"]


def upload_cost(scope: Scope) -> int:
    """The cost of an upload: 1, and 1 more for each megabyte. One of unknown size costs as much as the largest."""
    length = Headers(scope=scope).get("content-length", str(LIMIT))
    return 1 + min(int(length), LIMIT) // 10**6


def _units(path: str) -> int:
    """The cost of a request that is neither a call nor an upload, in units."""
    if is_slide(path) and path != VIEWER:
        return TILE_UNITS
    return PAGE_UNITS if path in PAGES else 1


class Visitors:
    """ASGI middleware that names the visitor of each request and counts the requests whose cost needs no body.

    Calls are only checked here; src/server/calls.py counts them when it knows their function.
    """

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self.app = app
        self.limits = limits
        self._secret = secrets.token_hex(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        vouched = self._vouched_for(scope)
        scope["visitor"] = vouched or client_network(scope, self.limits.allowed.proxies)
        scope["repeated"] = bool(vouched)
        refusal = None if vouched else self._refusal(scope)
        if refusal:
            await answer(refusal, scope, receive, send)
            return
        if scope["path"].startswith(MOUNTED):
            scope["headers"].append((VOUCHER, f"{self._secret} {scope['visitor']}".encode()))
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        visitor = visitor_of(scope)
        if is_call(scope):
            return self.limits.call(visitor)
        if scope["method"] == "POST" and scope["path"] in (UPLOAD, SLIDE_UPLOAD):
            return self.limits.upload(visitor, upload_cost(scope))
        return self.limits.light(visitor, _units(scope["path"]))

    def _vouched_for(self, scope: Scope) -> str:
        """The visitor whom this process named in the header VOUCHER; "" without one. Removes the header in any case."""
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == VOUCHER]
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != VOUCHER]
        secret, _, visitor = named[-1].partition(" ") if named else ("", "", "")
        return visitor if secrets.compare_digest(secret.encode(), self._secret.encode()) else ""
