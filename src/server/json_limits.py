"""How deeply a JSON body may nest and how many values it may hold, counted while it comes in.

Gradio walks every body several times, recursively: 96 KB of lists within lists took a second in which nobody else was
answered. A body is therefore refused before it is parsed.
"""

from itertools import accumulate
from typing import Final

from src.server.refusal import Refusal

DEPTH: Final = 32
"""Lists and objects within each other; the page's own requests nest eight deep at most."""
VALUES: Final = 20_000
"""Values in one body; a table of 200 pictures, the most that the page sends, has about 6,000."""

TOO_DEEP: Final = Refusal(413, f"At most {DEPTH} lists within each other are taken in one request.")
TOO_MANY_VALUES: Final = Refusal(413, f"At most {VALUES:,} values are taken in one request.")
NOT_JSON: Final = Refusal(400, "The request must be JSON in UTF-8.")

_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},"))
_STEP: Final = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]


class JsonLimits:
    """Counts in the pieces of one body, wherever it is cut; knows JSON's strings and brackets, and no more of it."""

    def __init__(self) -> None:
        self._in_string = False
        self._cut = b""
        self._values = self._strings = self._depth = 0

    def feed(self, chunk: bytes) -> Refusal | None:
        """Count `chunk`; what the body is refused with, if it is.

        Takes time in proportion to the chunk's length, at the speed of bytes.replace, and to at most VALUES values.
        """
        if b"\0" in chunk:  # as every bracket has in UTF-16 and UTF-32, which Python's json would decode
            return NOT_JSON
        text = self._cut + chunk
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._cut = text[len(text) - backslashes % 2 :]  # the character that it escapes is yet to come
        text = text[: len(text) - len(self._cut)].replace(rb"\\", b"").replace(rb"\"", b"")
        quotes = text.count(b'"')
        self._strings += quotes
        # An object's keys are strings, too.
        if self._strings > 4 * VALUES:
            return TOO_MANY_VALUES
        outside = b"".join(text.split(b'"')[int(self._in_string) :: 2])
        self._in_string ^= bool(quotes % 2)
        structure = outside.translate(None, _NOT_STRUCTURE)
        # A comma or the opening of a list or object comes before each value but the first.
        self._values += sum(structure.count(mark) for mark in (b",", b"[", b"{"))
        if self._values > VALUES:
            return TOO_MANY_VALUES
        depths = list(accumulate(map(_STEP.__getitem__, structure), initial=self._depth))
        self._depth = depths[-1]
        if min(depths) < 0:
            return NOT_JSON
        return TOO_DEEP if max(depths) > DEPTH else None
