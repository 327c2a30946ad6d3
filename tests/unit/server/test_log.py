"""What a failure leaves in the log."""

import logging
from pathlib import Path

import pytest

from src.server import log
from tests.support.personal_data import CANARY, NAME


def test_a_failure_is_logged_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(log.Discreet("%(levelname)s %(message)s"))
    logger = logging.Logger("apart")
    logger.addHandler(handler)
    try:
        Path(f"/{NAME}.jpg").read_bytes()
    except OSError:
        logger.exception("It failed")
    said = capsys.readouterr().err
    assert not CANARY.search(said.encode())
    assert said.startswith("ERROR It failed\n")
    assert "read_bytes" in said, "where"
    assert said.endswith("FileNotFoundError\n")
