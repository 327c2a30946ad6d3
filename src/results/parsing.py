"""Numbers as people and spreadsheets write them."""

import re


def parse_share(text: str) -> float | None:
    """The number from 0 to 1 that `text` writes in decimal digits, with an exponent or without; None for other text.

    Python's float() would also take 0_1 for 1 and digits of every script, unlike a spreadsheet.
    """
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return None
    value = float(text)
    return value if 0 <= value <= 1 else None
