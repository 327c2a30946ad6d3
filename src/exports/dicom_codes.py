"""What all DICOM objects of Vigil share: their codes, their numbers and the bytes of their files.

Concepts without a standard code have one of Vigil's own scheme 99VIGIL, which docs/DICOM.md lists.
"""

import logging
from io import BytesIO
from typing import Any, Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept, Measurement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)  # its messages may quote the file, which is not logged

VIGIL: Final = "Vigil"
SCHEME: Final = "99VIGIL"
LONGEST_MEANING: Final = 64
"""The most characters of a code's meaning (PS3.5, VR LO)."""


def own(code: str, meaning: str) -> CodedConcept:
    """A concept of Vigil's own scheme."""
    return CodedConcept(code[:16], SCHEME, meaning[:LONGEST_MEANING])


def own_scheme() -> CodingSchemeIdentificationItem:
    """What an object with own codes says of their scheme."""
    return CodingSchemeIdentificationItem(SCHEME, name=f"{VIGIL}'s own codes")


def number(name: Any, value: float, unit: Any = codes.UCUM.NoUnits, **others: Any) -> Measurement:
    """A measurement."""
    return Measurement(name, rounded(value), unit, **others)


def rounded(value: float) -> float:
    """The value as a decimal string can have it, in 16 characters at most."""
    return round(value, 6)


def encoded(data: Dataset) -> bytes:
    """The bytes of an object's file."""
    out = BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()
