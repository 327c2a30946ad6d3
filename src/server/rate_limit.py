"""How often one visitor may ask, and all of them together.

VIGIL_VISITOR_LIMIT and VIGIL_TOTAL_LIMIT set both, as `120/minute`; VIGIL_PROXIES says how many proxies stand in front.
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
from src.server.routes import MOUNTED, PAGES, is_work

VISITOR: Final = "120/minute"
"""Pictures that one visitor may have read, and may send: a sixth of what two cores can (13 a second, dev/LOG.md)."""
TOTAL: Final = "600/minute"
"""Pictures that all together may: three quarters of what two cores can, so that the page itself stays quick."""
GLANCES: Final = "4000/minute"
"""Of everything else, which is cheap, by one visitor: some 3 ms each. A class of thirty behind one address can open the
page at once, which takes about a hundred, and one that counts as PAGE."""
PAGE: Final = 30
"""As how many glances the page itself counts: Gradio writes all of its configuration anew for each, in 70 ms."""

VOUCHER: Final = b"x-vigil-visitor"
"""The header in which this process tells itself whose question it is: Gradio's MCP server asks what it is asked once
more over loopback, with the headers that it was sent."""

TOO_OFTEN: Final = "You have asked very often in the last minute; wait a moment, then try again."
BUSY: Final = "Very many people are asking just now; wait a moment, then try again."


@dataclass(frozen=True)
class Allowed:
    """The limits, and how a visitor is told from another.

    `proxies` is how many proxies of ours a request came through: each adds, at the right of X-Forwarded-For, the
    address that it was asked from. What stands further left was sent by the visitor, who may write anything.
    """

    visitor: RateLimitItem
    total: RateLimitItem
    proxies: int

    @classmethod
    def from_environment(cls) -> Self:
        """As the environment says; on a Space there is one proxy, elsewhere none. Raises SettingRefused."""
        return cls(
            settings.rate("VIGIL_VISITOR_LIMIT", VISITOR),
            settings.rate("VIGIL_TOTAL_LIMIT", TOTAL),
            settings.count("VIGIL_PROXIES", 1 if "SPACE_ID" in os.environ else 0),
        )


def visitor(scope: Scope, proxies: int) -> str:
    """The address that a request came from; of an IPv6 one the network, since a visitor has all of its addresses."""
    peer = scope["client"][0] if scope["client"] else ""
    if proxies:
        values = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        told = [one.strip() for one in ",".join(values).split(",")]
        if len(told) >= proxies:
            peer = told[-proxies]
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return "unknown"  # all such are one visitor
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def visitor_of(scope: Scope) -> str:
    """The visitor of a request that came through Visitors."""
    return scope["visitor"]


def cost(scope: Scope) -> int:
    """As how many of its kind a request counts.

    An upload as one, and one more for every megabyte; what does not say its size, as the largest.
    """
    if scope["path"] in PAGES:
        return PAGE
    if scope["path"] != UPLOAD:
        return 1
    length = Headers(scope=scope).get("content-length", str(LIMIT))
    return 1 + min(int(length), LIMIT) // 10**6


class Visitors:
    """ASGI middleware that asks whoever comes too often to wait. Who is refused does not wait the longer for it."""

    def __init__(self, app: ASGIApp, allowed: Allowed) -> None:
        self.app = app
        self.allowed = allowed
        self.limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.glances = parse(GLANCES)
        self._secret = secrets.token_hex(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = "glance" if not is_work(scope) else "upload" if scope["path"] == UPLOAD else "question"
        vouched = self._vouched_for(scope)
        who = vouched or visitor(scope, self.allowed.proxies)
        scope["visitor"] = who
        # What the MCP server asks on was counted when it was asked.
        refusal = None if vouched else self.refused(who, kind, cost(scope))
        if refusal:
            await answer(refusal, scope, receive, send)
            return
        if scope["path"].startswith(MOUNTED):
            scope["headers"].append((VOUCHER, f"{self._secret} {who}".encode()))
        await self.app(scope, receive, send)

    def _vouched_for(self, scope: Scope) -> str:
        """The visitor that this process names itself, if it does; without a trace of what anyone else wrote there."""
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == VOUCHER]
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != VOUCHER]
        secret, _, who = named[-1].partition(" ") if named else ("", "", "")
        return who if secrets.compare_digest(secret.encode(), self._secret.encode()) else ""

    def refused(self, who: str, kind: str, cost: int = 1) -> Refusal | None:
        """Count a request as so many; what it is refused with, if it is."""
        if kind == "glance":
            return self._hit(self.glances, TOO_OFTEN, cost, kind, who)
        # The visitor's own first: who is held back here takes nothing from the others.
        return self._hit(self.allowed.visitor, TOO_OFTEN, cost, kind, who) or self._hit(
            self.allowed.total, BUSY, cost, kind
        )

    def _hit(self, limit: RateLimitItem, sentence: str, cost: int, *key: str) -> Refusal | None:
        if self.limiter.hit(limit, *key, cost=min(cost, limit.amount)):
            return None
        reset = self.limiter.get_window_stats(limit, *key).reset_time
        return Refusal(429, sentence, max(1, math.ceil(reset - time.time())))
