"""A DICOM file that is full of what must not get out."""

import io

import pydicom
from PIL import Image, ImageDraw
from pydicom import uid
from pydicom.datadict import DicomDictionary
from pydicom.tag import Tag

from tests.support import dicom_files as made

CANARY = "CANARY"
TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE")
INNER = (20, 16, 140, 120)
BURNT_IN = (255, 0, 255)


def personal(**others: object) -> bytes:
    """A file with a unique text in every element of text, in private elements, in an overlay, and burnt in."""
    picture = made.drawn()
    outside = Image.new("RGB", picture.size, BURNT_IN)
    outside.paste(picture.crop(INNER), INNER[:2])
    ImageDraw.Draw(outside).text((2, 2), CANARY, fill=(0, 255, 0))
    regions = made.regions(made.region(*INNER))
    data = pydicom.dcmread(
        io.BytesIO(made.of_image(outside, "RGB", uid.ExplicitVRLittleEndian, SequenceOfUltrasoundRegions=regions))
    )
    for number, (vr, *_) in DicomDictionary.items():
        tag = Tag(number)
        if vr in TEXTS and tag.group > 2 and tag not in data:
            data.add_new(tag, vr, f"{CANARY}{number:08X}"[:16])
    block = data.private_block(0x0011, f"{CANARY} CREATOR", create=True)
    for element, vr in enumerate(TEXTS):
        block.add_new(element, vr, f"{CANARY} P{element}")
    data.add_new(0x60000010, "US", 8)
    data.add_new(0x60000011, "US", 8)
    data.add_new(0x60003000, "OW", CANARY.encode())
    data.add_new(0x00080005, "CS", f"{CANARY}SET")
    for keyword, value in others.items():
        setattr(data, keyword, value)
    return made.file_of(data, uid.ExplicitVRLittleEndian)
