"""The limits of a public demo: larger files are refused before a decoder spends memory or time on them."""

MAX_BYTES = 12_000_000
"""Bytes of an uploaded file. A phone's 12-megapixel JPEG has 3 to 6 MB; larger files are mostly raw or uncompressed
ones, or photos of 48 megapixels. In sentences 1 MB is 10^6 bytes."""
MAX_LOCAL_BYTES = 250_000_000
"""Bytes of a file on one's own disk. An image of MAX_PIXELS in 16-bit RGB has 240 MB uncompressed."""
MAX_PIXELS = 40_000_000
"""Decoded, 40 megapixels take 160 MB (Pillow keeps RGB in 4 bytes a pixel): two of them fit beside a model in 2 GB."""
MIN_SIDE = 28
"""Pixels of the shorter side: the smallest input of any task (BreastMNIST). A smaller image would have to be
enlarged, and most of its pixels would be interpolated.
"""
MAX_ASPECT = 20
"""The longer side divided by the shorter side. Whole-organ panoramas of ultrasound reach 5. A narrower strip shows a
network nothing, and steps that scale by the longer side would need gigabytes for a file of a few kilobytes.
"""
MAX_FRAMES = 50
"""A scanner's TIFF has a thumbnail and some ten sizes of the same image. A file with more frames is a film, a stack
or a document, which its first frame does not represent."""
MAX_SCANS = 50
"""Scans of a JPEG. A decoder passes over the whole image per scan (50 ms at 40 megapixels); encoders write 1 to 20."""
MAX_PARTS = 20_000
"""Parts that Pillow handles one by one in Python: JPEG segments, PNG chunks and TIFF tiles take 5 to 15 us each, EXIF
segments quadratic time. A file of a few MB could keep a core busy for minutes. A 40-megapixel picture in strips of one
row has some 6,000."""
