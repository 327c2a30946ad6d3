"""src/server/log.py: the log has no text of a visitor, and a limit on its lines."""

import logging
from pathlib import Path

import pytest

from src.server import log
from src.server.log import LINES_PER_MINUTE, LineLimit
from tests.support.personal_data import CANARY, NAME


def test_a_failure_is_logged_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(log.WithoutMessages("%(levelname)s %(message)s"))
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


def test_the_log_does_not_grow_with_what_visitors_do() -> None:
    now = [0.0]
    sparing, lines = LineLimit(clock=lambda: now[0]), list[str]()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, logger = Kept(), logging.getLogger("tests.sparing")
    handler.addFilter(sparing)
    logger.addHandler(handler)

    def often(number: int) -> None:
        logger.error("One place %d", number)

    for number in range(1000):
        often(number)
    logger.error("Another place")
    assert len(lines) == LINES_PER_MINUTE + 1
    now[0] = 61
    often(1000)
    assert lines[-1] == f"One place 1000 ({1000 - LINES_PER_MINUTE} more such lines were left out)"


def test_no_library_quotes_a_request() -> None:
    record = logging.LogRecord("root", logging.WARNING, "session.py", 7, "not understood: %s", (NAME,), None)
    assert log.WithoutRequests().filter(record)
    assert not CANARY.search(record.getMessage().encode())
    assert record.getMessage() == "a request was refused (session:7)"
    ours = logging.LogRecord("src.server", logging.WARNING, "disk.py", 7, "%s MB free", ("3",), None)
    assert log.WithoutRequests().filter(ours)
    assert ours.getMessage() == "3 MB free"
