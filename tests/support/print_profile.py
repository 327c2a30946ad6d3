"""A colour profile for print (CMYK), whose inks follow one formula, and images in its values."""

import struct

import numpy as np
from PIL import Image, ImageCms

NODES = 17
"""The profile's steps of each ink from none to full."""
STRENGTH = 0.75
"""An ink's share c leaves (1 - c) ** STRENGTH of the sRGB value. With 1, the inks would be those of a plain inversion,
so that an image would look right without its profile."""


def profile() -> bytes:
    """An ICC profile (version 2, class printer, CMYK to Lab) with one table, A2B0 of type lut8."""
    steps = np.linspace(0, 1, NODES)
    cyan, magenta, yellow, black = np.meshgrid(steps, steps, steps, steps, indexing="ij")
    left = [(1 - ink) ** STRENGTH * (1 - black) ** STRENGTH for ink in (cyan, magenta, yellow)]
    rgb = np.rint(255 * np.stack(left, axis=-1)).astype(np.uint8).reshape(NODES**2, NODES**2, 3)
    lab = ImageCms.profileToProfile(
        Image.fromarray(rgb), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    nodes = np.asarray(lab).copy()
    nodes[..., 1:] ^= 128  # Pillow has a and b as signed bytes, lut8 with 128 added
    same = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes((0, 0, 0, 0, 4, 3, NODES, 0)) + matrix + 4 * same + nodes.tobytes() + 3 * same
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)  # D50
    tags = {b"wtpt": white, b"A2B0": table + bytes(-len(table) % 4)}
    at, entries = 128 + 4 + 12 * len(tags), b""
    for name, content in tags.items():
        entries += name + struct.pack(">2I", at, len(content))
        at += len(content)
    header = struct.pack(">I4sI4s4s4s12s4s", at, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + b"".join(tags.values())


def separated(image: Image.Image) -> Image.Image:
    """An RGB image as inks of this profile, mode CMYK, without black ink."""
    left = (np.asarray(image.convert("RGB")) / 255) ** (1 / STRENGTH)
    inks = np.rint(255 * (1 - left)).astype(np.uint8)
    values = np.dstack((inks, np.zeros(inks.shape[:2], np.uint8)))
    return Image.frombytes("CMYK", image.size, values.tobytes())
