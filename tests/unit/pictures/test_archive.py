"""src/pictures/archive.py: ordinary zips, and malicious ones that these tests make."""

import io
import random
import struct
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable

import pytest

from src.pictures import archive
from src.pictures.archive import Archive, ArchiveRefused
from src.pictures.limits import MAX_BYTES

PICTURE = random.Random(0).randbytes(3000)


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for name, content in entries:
            out.writestr(name, content)
    return stream.getvalue()


def said(data: bytes) -> dict[str, str | None]:
    return {member.name: member.refusal for member in Archive(data).members}


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, mode << 16
    return made


def patched(data: bytes, offset: int, value: bytes, name: bytes = b"bad.png") -> bytes:
    """`data` with `value` at `offset` of the directory's entry `name`."""
    changed = bytearray(data)
    start = data.index(b"PK\x01\x02")
    while data[start + 46 : start + 46 + len(name)] != name:
        start = data.index(b"PK\x01\x02", start + 1)
    changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


def test_files_in_order_without_folders_and_what_macos_adds() -> None:
    data = packed(
        ("b.png", PICTURE),
        ("sub/", b""),
        ("sub/a.png", PICTURE[::-1]),
        ("sub/.DS_Store", b"x"),
        ("__MACOSX/sub/._a.png", b"x"),
        ("sub/._a.png", b"x"),
        ("Thumbs.db", b"x"),
        ("Bild äöü 皮.png", b""),
    )
    opened = Archive(data)
    assert [(m.name, m.refusal) for m in opened.members] == [
        ("b.png", None),
        ("sub/a.png", None),
        ("Bild äöü 皮.png", None),
    ]
    assert [opened.read(m) for m in opened.members] == [PICTURE, PICTURE[::-1], b""]


ODD: dict[str, tuple[tuple[str | zipfile.ZipInfo, bytes], str, str]] = {
    "parent": (("../bad.png", PICTURE), "../bad.png", archive.OUTSIDE),
    "parent inside": (("a/../../bad.png", PICTURE), "a/../../bad.png", archive.OUTSIDE),
    "absolute": (("/etc/bad.png", PICTURE), "/etc/bad.png", archive.OUTSIDE),
    "Windows": (("C:\\bad.png", PICTURE), "C:\\bad.png", archive.OUTSIDE),
    "Windows' parent": (("..\\bad.png", PICTURE), "..\\bad.png", archive.OUTSIDE),
    "share": (("\\\\server\\bad.png", PICTURE), "\\\\server\\bad.png", archive.OUTSIDE),
    "control": (("bad\x1b[31m.png", PICTURE), "bad\\x1b[31m.png", archive.ODD_NAME),
    "line": (("bad\n.png", PICTURE), "bad\\n.png", archive.ODD_NAME),
    "right to left": (("bad\u202egnp.exe", PICTURE), "bad\\u202egnp.exe", archive.ODD_NAME),
    "blank": (("a/ ", PICTURE), "a/ ", archive.ODD_NAME),
    "long": (("x" * 300, PICTURE), "x" * 254 + "…", archive.ODD_NAME),
    "link": ((entry("bad.png", 0o120777), b"/etc/passwd"), "bad.png", archive.LINK),
    "device": ((entry("bad.png", 0o020666), b""), "bad.png", archive.LINK),
    "zip in zip": (("inner.ZIP", packed(("a.png", PICTURE))), "inner.ZIP", archive.NESTED),
    "tar in zip": (("inner.tar.gz", PICTURE), "inner.tar.gz", archive.NESTED),
    "bomb": (("bad.png", b"\0" * 1_000_000), "bad.png", archive.BOMB),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_bad_member_is_refused_by_name_and_the_rest_is_read(kind: str) -> None:
    bad, shown, refusal = ODD[kind]
    opened = Archive(packed(("first.png", PICTURE), bad, ("last.png", PICTURE)))
    assert {m.name: m.refusal for m in opened.members} == {"first.png": None, shown: refusal, "last.png": None}
    for member in opened.members:
        if member.refusal:
            with pytest.raises(ArchiveRefused, match=r"\.$"):
                opened.read(member)
        else:
            assert opened.read(member) == PICTURE


def unflagged(*written: bytes) -> bytes:
    """A zip whose names are these bytes, as programs write them that know no Unicode flag."""
    data = packed(*((f"{n}" * len(name), PICTURE) for n, name in enumerate(written)))
    for n, name in enumerate(written):
        data = data.replace(f"{n}".encode() * len(name), name)
    return data


@pytest.mark.parametrize(
    ("page", "given"),
    [
        ("utf-8", ["Läsion José.jpg", "皮膚.jpg"]),
        ("cp437", ["Läsion José.jpg", "Rücken größer.jpg"]),
        ("cp850", ["müller.jpg"]),
        ("cp866", ["Фото первое.jpg", "родинка спина.jpg"]),
        ("cp1251", ["Фото первое.jpg", "родинка спина.jpg"]),
        ("cp932", ["皮膚 写真.jpg", "左腕.jpg"]),
        ("cp1252", ["Läsion José.jpg"]),
    ],
)
def test_names_without_the_unicode_flag(page: str, given: list[str]) -> None:
    data = unflagged(*(name.encode(page) for name in given))
    assert not zipfile.ZipFile(io.BytesIO(data)).infolist()[0].flag_bits & 0x800
    opened = Archive(data)
    assert said(data) == dict.fromkeys(given)
    assert [opened.read(member) for member in opened.members] == [PICTURE] * len(given)


@pytest.mark.parametrize("flagged", [True, False])
def test_names_come_back_composed(flagged: bool) -> None:
    decomposed = unicodedata.normalize("NFD", "Läsion José.jpg")
    data = packed((decomposed, PICTURE)) if flagged else unflagged(decomposed.encode())
    assert said(data) == {"Läsion José.jpg": None}
    assert archive.printable(decomposed) == "Läsion José.jpg"


@pytest.mark.parametrize("name", ["Photo 2024-01-01 12:30.jpg", "12:30/a.jpg", "mole: left.jpg"])
def test_a_colon_alone_is_no_drive(name: str) -> None:
    assert said(packed((name, PICTURE))) == {name: None}


def test_long_names_do_not_take_long_to_decode() -> None:
    data = unflagged(*(bytes([0x80 + n]) * 30_000 for n in range(10)))
    start = time.process_time()
    assert set(said(data).values()) == {archive.ODD_NAME}
    assert time.process_time() - start < 5


def test_a_null_byte_hides_no_name() -> None:
    data = packed(("a.png", PICTURE), ("badXpng", PICTURE)).replace(b"badXpng", b"bad\0png")
    assert said(data) == {"a.png": None, "bad\\x00png": archive.ODD_NAME}


LYING: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "encrypted": (lambda data: patched(data, 8, b"\x01\x00"), archive.ENCRYPTED),
    "LZMA": (lambda data: patched(data, 10, struct.pack("<H", 14)), archive.PACKED),
    "too large": (lambda data: patched(data, 20, struct.pack("<II", 130_000, MAX_BYTES + 1)), archive.TOO_LARGE),
    "too good": (lambda data: patched(data, 24, struct.pack("<I", 400_000)), archive.BOMB),
    "outside the file": (lambda data: patched(data, 42, struct.pack("<I", 10**9)), archive.DAMAGED_MEMBER),
    "into the directory": (lambda data: patched(data, 20, struct.pack("<I", 3500)), archive.DAMAGED_MEMBER),
    "over the first": (lambda data: patched(data, 42, b"\0\0\0\0"), archive.OVERLAP),
}


@pytest.mark.parametrize("kind", LYING)
def test_what_the_directory_claims_is_checked(kind: str) -> None:
    change, refusal = LYING[kind]
    data = change(packed(("first.png", PICTURE), ("second.png", PICTURE), ("bad.png", PICTURE)))
    expected = {"first.png": None, "second.png": None, "bad.png": refusal}
    if refusal == archive.OVERLAP:
        expected["first.png"] = refusal  # which of the two is the true one, nobody knows
    assert said(data) == expected


@pytest.mark.parametrize("size", [100, 2999, 3001, 9000])
def test_another_size_than_claimed_is_damage(size: int) -> None:
    opened = Archive(patched(packed(("bad.png", PICTURE)), 24, struct.pack("<I", size)))
    with pytest.raises(ArchiveRefused, match="damaged"):
        opened.read(opened.members[0])


def test_a_flipped_byte_is_damage() -> None:
    data = bytearray(packed(("bad.png", PICTURE), ("good.png", PICTURE)))
    data[60] ^= 1
    opened = Archive(bytes(data))
    with pytest.raises(ArchiveRefused, match="damaged"):
        opened.read(opened.members[0])
    assert opened.read(opened.members[1]) == PICTURE


def test_one_stream_quoted_by_all_entries() -> None:
    # After D. Fifield, "A better zip bomb" (2019): every entry of the directory names the same bytes.
    data = packed(*((f"{n:03}.png", PICTURE) for n in range(100)))
    for n in range(100):
        data = patched(data, 42, b"\0\0\0\0", f"{n:03}.png".encode())
    assert set(said(data).values()) == {archive.OVERLAP}


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"PK\x05\x06", b"PK\x03\x04" + PICTURE, packed(("a", PICTURE))[:-30]])
def test_no_whole_archive(data: bytes) -> None:
    assert archive.is_archive(data)
    with pytest.raises(ArchiveRefused, match="cut off or damaged"):
        Archive(data)


def test_an_empty_one_has_no_members() -> None:
    assert archive.is_archive(packed())
    assert Archive(packed()).members == []


def test_a_quarter_of_a_million_entries_are_refused_at_once() -> None:
    one = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = one * (MAX_BYTES // len(one) - 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 0, 0)
    data = directory + end
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(ArchiveRefused, match="2,000 entries"):
        Archive(data)
    took, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1
    assert peak < 5_000_000


def test_mutated_archives_raise_nothing_else() -> None:
    rng = random.Random(1)
    whole = packed(*((f"{n}.png", PICTURE[: 200 * n]) for n in range(5)))
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
        try:
            opened = Archive(bytes(data))
        except ArchiveRefused:
            continue
        for member in opened.members:
            assert member.name.isprintable()
            try:
                opened.read(member)
            except ArchiveRefused as refusal:
                assert str(refusal).endswith(".")  # noqa: PT017 - either is right
