"""Limits on the depth of a JSON body and on the number of its values, counted while it arrives.

Gradio visits every value of a body several times, recursively. 96 KB of nested lists took a second, in which nobody got
an answer. Such a body is therefore refused before it is parsed.
"""

from itertools import accumulate
from typing import Final

from src.server.refusal import Refusal

DEPTH: Final = 32
"""Lists and objects within each other. The page's own requests have at most eight."""
VALUES: Final = 20_000
"""Values in one body. The largest that the page sends, a table of 200 images, has about 6,000."""

TOO_DEEP: Final = Refusal(413, f"A request may have at most {DEPTH} lists within each other.")
TOO_MANY_VALUES: Final = Refusal(413, f"A request may have at most {VALUES:,} values.")
NOT_JSON: Final = Refusal(400, "The request must be JSON in UTF-8.")

_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},"))
_STEP: Final = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]


class JsonLimits:
    """Counts the values of one body from its chunks, which may end anywhere. It knows strings and brackets only."""

    def __init__(self) -> None:
        self._in_string = False
        self._cut = b""
        self._values = self._strings = self._depth = 0

    def feed(self, chunk: bytes) -> Refusal | None:
        """Count `chunk`; returns the refusal of the body, if it is refused.

        Takes time in proportion to the chunk's length, at the speed of bytes.replace, and to at most VALUES values.
        """
        if b"\0" in chunk:  # Python's json would also decode UTF-16 and UTF-32, in which every bracket has one
            return NOT_JSON
        text = self._cut + chunk
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._cut = text[len(text) - backslashes % 2 :]  # the escaped character stands in the next chunk
        text = text[: len(text) - len(self._cut)].replace(rb"\\", b"").replace(rb"\"", b"")
        quotes = text.count(b'"')
        self._strings += quotes
        # Keys of objects are strings as well.
        if self._strings > 4 * VALUES:
            return TOO_MANY_VALUES
        outside = b"".join(text.split(b'"')[int(self._in_string) :: 2])
        self._in_string ^= bool(quotes % 2)
        structure = outside.translate(None, _NOT_STRUCTURE)
        # Before every value but the first stands a comma or an opening bracket.
        self._values += sum(structure.count(mark) for mark in (b",", b"[", b"{"))
        if self._values > VALUES:
            return TOO_MANY_VALUES
        depths = list(accumulate(map(_STEP.__getitem__, structure), initial=self._depth))
        self._depth = depths[-1]
        if min(depths) < 0:
            return NOT_JSON
        return TOO_DEEP if max(depths) > DEPTH else None
