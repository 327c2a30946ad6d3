"""Archives that speak DICOMweb: honest ones, busy ones, and ones that lie."""

from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest
from pydicom import uid

from src import dicomweb
from src.dicomweb import ArchiveError
from tests.support import dicom_files as made
from tests.support import dicomweb_server
from tests.support.dicomweb_server import Archive

TOKEN = "the-token-of-an-archive"


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setattr(dicomweb, "LISTED_AFTER", (0, 0.01, 0.01))
    dicomweb_server.shorten_waits(monkeypatch)
    with dicomweb_server.archive() as running:
        yield running


def image(number: int = 1, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    return made.of_image(made.drawn(), "RGB", syntax, SOPInstanceUID=f"2.25.{number}")


def source(archive: Archive, tail: str = "/studies/2.25.2") -> str:
    return "dicomweb+" + archive.url + tail


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGBaseline8Bit, uid.JPEG2000Lossless])
def test_a_stored_object_is_listed_and_comes_back_as_it_was(archive: Archive, syntax: str) -> None:
    assert dicomweb.Archive(archive.url).store(image(1, syntax))
    found, study, series = dicomweb.parse(source(archive))
    (instance,) = found.instances(study, series)
    fetched, sent = pydicom.dcmread(BytesIO(found.fetch(instance))), pydicom.dcmread(BytesIO(image(1, syntax)))
    assert fetched.file_meta.TransferSyntaxUID == syntax
    assert fetched.PixelData == sent.PixelData


@pytest.mark.parametrize("repeats", [False, True])
def test_a_study_of_several_pages_is_listed_whole(archive: Archive, repeats: bool) -> None:
    for number in range(1, 6):
        archive.add(image(number))
    archive.repeats = repeats
    found, study, series = dicomweb.parse(source(archive, "/studies/2.25.2/series/2.25.3"))
    listed = [one[2] for one in found.instances(study, series)]
    assert listed == [f"2.25.{number}" for number in range(1, 3 if repeats else 6)]


def test_a_duplicate_counts_as_done(archive: Archive) -> None:
    client = dicomweb.Archive(archive.url)
    assert client.store(image())
    assert not client.store(image())


def test_an_object_that_is_not_listed_is_not_stored(archive: Archive) -> None:
    archive.forgets = True
    with pytest.raises(ArchiveError, match="accepted the object and does not list it"):
        dicomweb.Archive(archive.url).store(image())


def test_a_conflict_about_an_object_that_is_not_there_is_a_refusal(archive: Archive) -> None:
    archive.refuses = True
    with pytest.raises(ArchiveError, match="refused it"):
        dicomweb.Archive(archive.url).store(image())


def test_an_archive_may_list_an_object_later(archive: Archive) -> None:
    archive.later = 2
    assert dicomweb.Archive(archive.url).store(image())


def test_a_busy_archive_is_asked_again_and_not_for_ever(archive: Archive) -> None:
    client = dicomweb.Archive(archive.url)
    archive.busy = 2
    assert client.store(image())
    archive.busy = 100
    with pytest.raises(ArchiveError, match="busy at 4 attempts"):
        client.store(image(2))
    assert archive.busy == 96


def test_the_token_is_sent_and_never_repeated(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.token = TOKEN
    with pytest.raises(ArchiveError, match="status 401"):
        dicomweb.Archive(archive.url).store(image())
    monkeypatch.setenv(dicomweb.TOKEN, TOKEN)
    assert dicomweb.Archive(archive.url).store(image())
    assert archive.seen[-1] == f"Bearer {TOKEN}"
    archive.token = "another"
    with pytest.raises(ArchiveError) as refused:
        dicomweb.Archive(archive.url).store(image(2))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("answer", [b"{}", b"[1]", b"<html>", b'[{"00080018": {"vr": "UI"}}]', b'[{"x": 1}]'])
def test_an_answer_that_is_not_dicomweb_is_refused(archive: Archive, answer: bytes) -> None:
    archive.says = answer
    found, study, series = dicomweb.parse(source(archive))
    with pytest.raises(ArchiveError, match="not DICOMweb"):
        found.instances(study, series)


@pytest.mark.parametrize("tail", ["", "/studies", "/studies/", "/studies/1/instances/2", "/studies/1/series/"])
def test_an_address_without_a_study_is_refused(archive: Archive, tail: str) -> None:
    with pytest.raises(ArchiveError, match="is not dicomweb://"):
        dicomweb.parse(source(archive, tail))


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "ftp://127.0.0.1/", "nothing"])
def test_an_address_of_no_archive_is_refused(address: str) -> None:
    with pytest.raises(ArchiveError, match="no address of an archive"):
        dicomweb.Archive(address)


def test_an_archive_that_is_not_there_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    dicomweb_server.shorten_waits(monkeypatch)
    with pytest.raises(ArchiveError, match="cannot be reached"):
        dicomweb.Archive("http://127.0.0.1:9/dicom-web").instances("2.25.2")
