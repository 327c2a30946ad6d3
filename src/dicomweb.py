"""An archive that speaks DICOMweb (PS3.18): finds and fetches the instances of a study, and stores objects.

dicomweb-client makes the requests. What an archive sends is not interpreted here beyond its UIDs.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from io import BytesIO
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from retrying import RetryError

TOKEN: Final = "VIGIL_DICOMWEB_TOKEN"
"""The setting with the token that an archive asks for. It is sent as `Authorization: Bearer`."""
SCHEMES: Final = {"dicomweb": "https", "dicomweb+http": "http"}
"""The schemes of a source, and those of the archive's address."""
SECONDS: Final = 60
ATTEMPTS: Final = 4
LISTED_AFTER: Final = (0, 1, 2, 4)
"""The seconds before each search for an object that was stored. Some archives list an object a little later."""
WHOLE: Final = 2**31
"""Bytes of a request that is sent in one piece. dicomweb-client cannot repeat a request that it sends in pieces."""

Instance = tuple[str, str, str]
"""The UIDs of study, series and instance."""


class ArchiveError(Exception):
    """The archive did not do what was asked; the message says why in one sentence and repeats no token."""


class Archive:
    """An archive at `url`, the address under which it has `studies`. Raises ArchiveError for an unusable address."""

    def __init__(self, url: str) -> None:
        token = os.environ.get(TOKEN, "").strip()
        headers = {"Authorization": f"Bearer {token}"} if token else None
        try:
            self._client = DICOMwebClient(url.rstrip("/"), headers=headers, chunk_size=WHOLE, timeout=SECONDS)
        except ValueError as error:
            raise ArchiveError(f"{url} is no address of an archive.") from error
        self._client.set_http_retry_params(max_attempts=ATTEMPTS)

    def instances(self, study: str, series: str | None = None) -> list[Instance]:
        """The images of a study, or of one series in it, in the order of the UIDs."""
        found: set[Instance] = set()
        while True:
            with _reported():
                page = self._client.search_for_instances(study, series, offset=len(found))
                further = {_instance(each, study, series) for each in page}
            # Some archives ignore the offset, and send the same page for ever.
            if further <= found:
                return sorted(found)
            found |= further

    def fetch(self, instance: Instance) -> bytes:
        """The file of an instance, in the transfer syntax in which it is stored."""
        with _reported():
            data = self._client.retrieve_instance(*instance, media_types=(("application/dicom", "*"),))
        out = BytesIO()
        data.save_as(out, enforce_file_format=True)
        return out.getvalue()

    def store(self, data: bytes) -> bool:
        """Store an object and ask whether the archive has it; an answer alone is no proof. True if it was new.

        An object that the archive has already is not stored again.
        """
        stored = dcmread(BytesIO(data))
        instance = (str(stored.StudyInstanceUID), str(stored.SeriesInstanceUID), str(stored.SOPInstanceUID))
        new = True
        try:
            with _reported(passed_on=HTTPStatus.CONFLICT):
                self._client.store_instances([stored])
        except requests.HTTPError:
            new = False
        for seconds in LISTED_AFTER:
            time.sleep(seconds)
            if self._has(instance):
                return new
        raise ArchiveError(
            "The archive accepted the object and does not list it." if new else "The archive refused it."
        )

    def _has(self, instance: Instance) -> bool:
        study, series, name = instance
        with _reported():
            found = self._client.search_for_instances(study, series, search_filters={"SOPInstanceUID": name})
        # Some archives ignore a filter.
        return any(str(Dataset.from_json(each).get("SOPInstanceUID")) == name for each in found)


def parse(source: str) -> tuple[Archive, str, str | None]:
    """The archive, the study and the series that `dicomweb://HOST/PATH/studies/UID[/series/UID]` names.

    `dicomweb+http://` is an archive without encryption. Raises ArchiveError for any other address.
    """
    parts = urlsplit(source)
    base, studies, named = parts.path.rpartition("/studies/")
    study, _, further = named.strip("/").partition("/")
    series = further.removeprefix("series/") if further.startswith("series/") else None
    if parts.scheme not in SCHEMES or not parts.netloc or not studies or not study or (further and not series):
        raise ArchiveError(f"{source} is not dicomweb://HOST/PATH/studies/UID or …/studies/UID/series/UID.")
    return Archive(urlunsplit((SCHEMES[parts.scheme], parts.netloc, base, "", ""))), study, series


def _instance(listed: dict[str, dict[str, object]], study: str, series: str | None) -> Instance:
    """The UIDs of an instance as a search lists it. Raises ValueError where one is missing."""
    data = Dataset.from_json(listed)
    uids = (study, str(data.get("SeriesInstanceUID", series)), str(data.get("SOPInstanceUID", "")))
    if not all(uid.UID(each).is_valid for each in uids):
        raise ValueError("no UID")
    return uids


@contextmanager
def _reported(passed_on: HTTPStatus | None = None) -> Iterator[None]:
    """Raises ArchiveError where a request fails, except for a status that is passed on as HTTPError."""
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == passed_on:
            raise
        raise ArchiveError(f"The archive answered with status {status}.") from error
    except RetryError as error:
        raise ArchiveError(f"The archive was busy at {ATTEMPTS} attempts.") from error
    except (requests.JSONDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError("The archive's answer is not DICOMweb.") from error
    except requests.RequestException as error:
        raise ArchiveError(f"The archive cannot be reached ({type(error).__name__}).") from error
