"""Addresses of files that fsspec opens: which are allowed, how they are named, and how an error is reported.

Credentials come from the environment alone. So an address with a password is refused, the signature of a signed URL is
no part of a name, and an error's own text, which may contain the address, is never repeated.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from src.pictures.picture import ImageRefused

REQUIREMENTS: Final = "requirements-scale.txt"
PAUSES: Final = (0.2, 1.0, 3.0, 0.0)
"""The pauses in seconds after each failure of a store."""
_WEB: Final = ("http", "https")
T = TypeVar("T")


class ScaleError(Exception):
    """The run cannot start or continue. The message says why in one sentence."""


class StoreError(Exception):
    """A store did not answer as it should, which may pass. The message says so in one sentence, without a secret."""


def is_remote(source: str) -> bool:
    """Whether a source is an address for fsspec, and not a path on this machine."""
    return "://" in source


def name(address: str) -> str:
    """What an address is called in results: the address without the query of a web address, which may be a signature.

    Raises ScaleError for an address that contains a password.
    """
    return "::".join(map(_name, address.split("::")))


def _name(link: str) -> str:
    if "://" not in link:
        return link
    try:
        parts = urlsplit(link)
        secret = parts.password is not None or (parts.username is not None and parts.scheme in _WEB)
    except ValueError as error:
        raise ScaleError("A source is no address that can be read.") from error
    if secret:
        raise ScaleError("A source contains a user name or a password; credentials come from the environment alone.")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")) if parts.scheme in _WEB else link


def filesystem(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or an address, without a cache of listings, and the path in it. Raises ScaleError."""
    if not is_remote(address):
        return LocalFileSystem(), address  # fsspec would change some odd names
    called = name(address)
    # fsspec gives each link of a chain the options of its protocol, and the first link all others, which would refuse
    # options of a protocol that the chain lacks.
    options = {"s3": _s3_options()} if any(link.startswith("s3://") for link in address.split("::")) else {}
    try:
        return url_to_fs(address, use_listings_cache=False, **options)
    except ImportError as error:
        raise ScaleError(
            f"{called} cannot be read, because a package is missing: python -m pip install -r {REQUIREMENTS}"
        ) from error
    except ValueError as error:
        raise ScaleError(f"{called} is no address that can be read.") from error


def _s3_options() -> dict[str, bool]:
    return {"anon": _without_credentials(), "use_listings_cache": False}


@lru_cache
def _without_credentials() -> bool:
    """Whether the environment has no credentials. S3 is then asked without a signature, as public buckets allow."""
    try:
        from botocore.session import get_session
    except ImportError:
        return True  # url_to_fs says what is missing
    return get_session().get_credentials() is None


def asked(called: str, work: Callable[[], T]) -> T:
    """What `work` returns, which asks a store. It is tried again after a pause, because a store may fail once.

    Raises StoreError without the store's own text. FileNotFoundError and PermissionError, which will not pass, are
    raised as they are, and so are our own errors. `called`: the name of what is read or written.
    """
    for pause in PAUSES:
        try:
            return work()
        except (ScaleError, ImageRefused, FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # noqa: BLE001 - each store has its own, and many are no OSError
            kind = type(error).__name__
        time.sleep(pause)
    # Outside the handler, so that no traceback shows the store's text.
    raise StoreError(f"{called} cannot be read or written at present ({kind}).")
