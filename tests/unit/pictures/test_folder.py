"""src/pictures/folder.py: the first bytes decide which files are pictures; every other file gets a reason."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from src.pictures import folder
from src.pictures.folder import find, is_bookkeeping


def image(suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").save(stream, suffix)
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as out:
        out.writestr("sheet.xml", "<a/>")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
@pytest.mark.parametrize("name", ["IMG 0001", "b.txt", "c.jpg "])
def test_a_picture_is_found_under_any_name(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(image(kind))
    assert find([str(tmp_path)]).entries == [(str(tmp_path / name), None)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scan", bytes(128) + b"DICM" + bytes(100)),
        ("IMG_1", b"\0\0\0\x18ftypheic\0\0\0\0"),
        ("cut.jpg", b""),
        ("text.HEIC", b"no picture"),
        ("odd.dcm", b"\x08\0\0\0"),
    ],
)
def test_what_may_be_a_picture_is_not_lost(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = find([str(tmp_path)])
    assert (found.entries, found.left_out) == ([(str(tmp_path / name), None)], [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", "Läsion links".encode(), "Not an image."),
        ("unicode.txt", "age\tlabel".encode("utf-16"), "Not an image."),
        ("bmi.csv", b"BMI;label\n21;benign\n", "Not an image."),
        ("empty", b"", "Not an image."),
        ("program.exe", b"MZ\x90\0\3\0", "Not an image."),
        ("labels.xlsx", zipped(), "This is a ZIP archive; unpack it and give one image."),
        ("report.pdf", b"%PDF-1.7\n%\xe2\xe3", "This is a PDF document; export it as PNG or JPEG first."),
        ("sketch.svg", b"<svg xmlns='x'/>", "This is an SVG drawing; export it as PNG or JPEG first."),
    ],
)
def test_what_cannot_be_a_picture_is_left_out_by_name(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("PNG"))
    (tmp_path / name).write_bytes(content)
    found = find([str(tmp_path)])
    assert found.entries == [(str(tmp_path / "a.png"), None)]
    assert found.left_out == [(str(tmp_path / name), reason)]


def test_a_file_named_itself_is_an_entry_whatever_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    found = find([str(tmp_path), str(tmp_path / "a.txt")])
    assert found.entries == [(str(tmp_path), folder.NO_PICTURE), (str(tmp_path / "a.txt"), None)]
    assert found.left_out == []


def test_a_pipe_is_not_opened_and_a_linked_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    (tmp_path / "a.png").write_bytes(image("PNG"))
    assert find([str(tmp_path)]).left_out == [
        (str(tmp_path / "elsewhere"), folder.LINKED_FOLDER),
        (str(tmp_path / "pipe"), folder.NOT_A_FILE),
    ]


def test_only_the_start_of_a_file_is_read(tmp_path: Path) -> None:
    with (tmp_path / "film").open("wb") as file:
        file.truncate(50_000_000_000)
    (tmp_path / "big").write_bytes(image("BMP"))
    with (tmp_path / "big").open("ab") as file:
        file.truncate(50_000_000_000)
    found = find([str(tmp_path)])
    assert found.entries == [(str(tmp_path / "big"), None)]
    assert found.left_out == [(str(tmp_path / "film"), "Not an image.")]


def test_unreadable_folder_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("PNG"))
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # tests may run as root, whom no permission stops
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find([str(tmp_path)]).entries == [
        (str(tmp_path / "a.png"), None),
        (str(tmp_path / "closed"), "This folder cannot be read."),
    ]


def test_a_file_named_twice_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(image("PNG"))
    monkeypatch.chdir(tmp_path)
    paths = ["a/b.png", "a", "a/../a/b.png", str(tmp_path / "a" / "b.png")]
    assert find(paths).entries == [("a/b.png", None)]


@pytest.mark.parametrize("name", ["._a.jpg", "x/._a.jpg", ".DS_Store", "x/Thumbs.db", "THUMBS.DB", "__MACOSX/a.jpg"])
def test_bookkeeping(name: str) -> None:
    assert is_bookkeeping(name)
    assert not is_bookkeeping(f"{name}x.jpg".replace("._", "_").replace("__MACOSX/", ""))
