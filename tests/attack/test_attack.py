"""The short form of `python -m tests.attack`, and its frame. Points 1, 2, 5, 6 and 7 are in test_server*.py and
test_work.py, the faults of weights in test_weights.py and test_hub.py. tests/api/test_calls.py runs `fetching`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attack import __main__ as attack
from tests.attack import (
    arguments,
    files,
    fuzz_calls,
    fuzz_readers,
    incomplete,
    memory,
    names,
    odd_json,
    operators,
    output,
    pictures,
    supply,
    tables,
)
from tests.attack.bench import Bench, Check
from tests.attack.known_faults import FAULTS
from tests.attack.row import Row
from tests.support.app import Server

SHORT = (
    pictures.bombs,
    pictures.mutants,
    pictures.dicom_mutants,
    incomplete.incomplete,
    memory.largest,
    arguments.calls,
    arguments.functions,
    odd_json.odd_json,
    fuzz_calls.generated_calls,
    fuzz_readers.readers,
    names.names,
    output.answers,
    output.reports,
    output.page,
    output.secrets,
    supply.locked,
    supply.connections,
    files.shared,
    tables.clinic,
    tables.numbers,
    tables.formulas,
    operators.settings,
)


@pytest.mark.parametrize("check", SHORT, ids=lambda check: check.__name__)
def test_it_holds(check: Check, server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as alone:  # a second Playwright cannot run in the thread of the tests' own
        rows = alone.submit(list[Row], check(Bench(server, tmp_path, short=True))).result()
    assert rows
    assert [row for row in rows if not row.ok] == []


def test_the_app_under_test_called_nobody_and_unpickled_nothing(server: Server) -> None:
    assert server.violations == []


def test_every_point_has_checks() -> None:
    checks = attack.checks()
    assert [point for point, found in checks.items() if not found] == []
    assert sum(len(found) for found in checks.values()) >= len(SHORT)


def test_what_did_not_hold_is_written_down() -> None:
    row = {"point": 3, "what": "a | b", "how_often": 1000, "outcome": "It\nfell.", "ok": False}
    rows = [{**row, "when": "today", "commit": "abc", "short": True}]
    text = attack.page({"versions": {"Python": "3"}, "points": {"3": rows}})
    assert "| a \\| b | 1,000 | It fell. | **no** | today, commit abc, short form |" in text
    assert "Not run on these versions." in text
    assert text.index("Found after the release") < text.index("## 1.")
    assert all(f"| {fault.what} | {fault.severity} |" in text for fault in FAULTS)


def test_checks_that_run_again_take_the_place_of_what_they_said() -> None:
    kept = [{"what": "a", "ok": False}, {"what": "b", "ok": True}]
    again = [{"what": "c", "ok": True}, {"what": "a", "ok": True}]
    assert attack.merged(kept, again) == [
        {"what": "a", "ok": True},
        {"what": "b", "ok": True},
        {"what": "c", "ok": True},
    ]
