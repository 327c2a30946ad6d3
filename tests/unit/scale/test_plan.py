"""The plan for large runs: its arithmetic on round numbers, and that docs/SCALE.md has the tables of scale.json."""

from pathlib import Path

import pytest

from benchmarks import plan
from benchmarks.plan import Assumed, Failures, Rates

ROUND = Rates(
    image=0.1,
    spread=(1.0,),
    prepare=0.02,
    alone=2.0,
    start=0.0,
    listing=0.0,
    image_bytes=100_000.0,
    row_bytes=200.0,
    slide=100.0,
    tiles=50_000.0,
    slide_bytes=1e9,
    result_bytes=1e6,
)


def test_equal_images_without_failures_take_their_time() -> None:
    # A million images have 4,000 parts of 250, so a thousand cores read four parts of 25 seconds each.
    two, many, thousand, gpu = plan.machines(ROUND, Assumed(), slides=False)
    assert plan.run_of(thousand, ROUND, 0, False, Failures()).seconds == pytest.approx(100.0)
    assert plan.run_of(many, ROUND, 0, False, Failures()).seconds == pytest.approx(63 * 25.0)
    assert plan.run_of(two, ROUND, 0, False, Failures()).seconds == pytest.approx(50_000.0)
    assert gpu.limit == "its 4 cores, which decode"
    assert gpu.unit == pytest.approx(0.005)


def test_slides_are_read_whole_by_one_process() -> None:
    _, many, thousand, _ = plan.machines(ROUND, Assumed(), slides=True)
    assert plan.run_of(thousand, ROUND, 0, True, Failures()).seconds == pytest.approx(1_000.0)
    assert plan.run_of(many, ROUND, 0, True, Failures()).seconds == pytest.approx(157 * 100.0)


def test_the_estimate_of_the_gpu() -> None:
    # 7,710 images of an RTX 3090, a third of its bandwidth, twice the bytes, four views.
    assert plan.gpu_images(224, 4) == pytest.approx(329.4, abs=0.1)
    assert plan.gpu_images(112, 1) == pytest.approx(4 * 4 * 329.4, rel=1e-3)


def test_a_listing_takes_an_answer_for_each_thousand_names() -> None:
    assert plan.listing(ROUND, Assumed(list_seconds=0.2), 1_000_000) == pytest.approx(200.0)


def test_the_document_has_the_tables_of_the_measured_rates(tmp_path: Path) -> None:
    written = plan.DOCUMENT.read_text(encoding="utf-8")
    copy = tmp_path / "SCALE.md"
    copy.write_text(written.partition(plan.START)[0] + plan.START + plan.END + written.partition(plan.END)[2])
    assert plan.main(["--out", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == written
    copy.write_text("no markers")
    assert plan.main(["--out", str(copy)]) == 1
