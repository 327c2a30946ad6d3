"""What all DICOM objects of Vigil share: their codes, their numbers, their description and the bytes of their files.

Concepts without a standard code have one of Vigil's own scheme 99VIGIL, which docs/DICOM.md lists.
"""

import logging
from io import BytesIO
from typing import Any, Final

from highdicom import ContentQualificationValues
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept, Measurement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from src.exports.dicom_source import Source, derived_uid

logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)  # its messages may quote the file, which is not logged

VIGIL: Final = "Vigil"
SCHEME: Final = "99VIGIL"
LONGEST_MEANING: Final = 64
"""The most characters of a code's meaning (PS3.5, VR LO)."""


def own(code: str, meaning: str) -> CodedConcept:
    """A concept of Vigil's own scheme."""
    return CodedConcept(code[:16], SCHEME, meaning[:LONGEST_MEANING])


def described(
    kind: str, source: Source, uid: str, model: str, revision: str, weights: str, subject: str = ""
) -> dict[str, Any]:
    """The arguments that highdicom takes for every object: its place in the study of `source`, and what made it.

    `kind`: of the object, which has a series of its own. `uid`: of the object. `weights`: their sha256. `subject`: what
    the description names besides the kind.
    """
    return {
        "series_instance_uid": derived_uid(kind, "series", source.study, weights),
        "sop_instance_uid": uid,
        "instance_number": source.number,
        "manufacturer": VIGIL,
        "manufacturer_model_name": model,
        "software_versions": revision,
        "series_description": f"{VIGIL} {kind}{subject}: research only",
        "content_qualification": ContentQualificationValues.RESEARCH,
        "coding_schemes": [CodingSchemeIdentificationItem(SCHEME, name=f"{VIGIL}'s own codes")],
    }


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
