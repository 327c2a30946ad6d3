"""Parses numbers as people and spreadsheets write them."""

import re


def parse_share(text: str) -> float | None:
    """The number from 0 to 1 that `text` gives in decimal digits, with or without an exponent; None for other text.

    Unlike a spreadsheet, Python's float() also reads 0_1 as 1 and accepts the digits of every script.
    """
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return None
    value = float(text)
    return value if 0 <= value <= 1 else None
