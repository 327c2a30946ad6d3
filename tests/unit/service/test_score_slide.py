"""The scoring of an uploaded slide in a process of its own: progress, refusals, and its end with the visitor."""

from pathlib import Path

import numpy as np
import pytest

from src.pictures.picture import ImageRefused
from src.service import score_slide
from src.service.read_slide import view
from src.slides import library
from tests.support import event_loop, slide_files


def scored(file: Path) -> list[int | None]:
    """The progress of a whole run."""

    async def run() -> list[int | None]:
        return [percent async for percent in score_slide.score(file, scores_of(file))]

    return event_loop.run(run())


def scores_of(file: Path) -> Path:
    return file.parent / library.SCORES / file.name


@pytest.mark.slow
def test_a_slide_is_scored_and_can_be_shown(tmp_path: Path) -> None:
    pixels = np.full((1600, 1600, 3), 243, np.uint8)
    pixels[300:1300, 300:1300] = np.random.default_rng(0).integers(100, 220, (1000, 1000, 3))
    file = slide_files.write(tmp_path / "slide.tif", pixels, 0.97, (1, 4))
    progress = scored(file)
    assert progress[0] == 0
    assert None not in progress, "no other slide was being read"
    assert progress == sorted(percent for percent in progress if percent is not None)
    viewed = view({}, str(file), str(scores_of(file)))
    assert viewed.report is not None
    assert viewed.report.stride_um == pytest.approx(score_slide.STRIDE * 0.97)
    assert viewed.scores


@pytest.mark.slow
def test_a_file_that_is_no_slide_is_refused_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "slide.svs"
    file.write_bytes(b"II*\0no slide")
    with pytest.raises(ImageRefused, match="This is not a slide"):
        scored(file)


def test_the_process_ends_with_its_visitor_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho $$ > " + str(tmp_path / "pid") + "\necho ' 7%|' >&2\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(score_slide.sys, "executable", str(program))

    async def run() -> None:
        first = score_slide.score(tmp_path / "a.svs", tmp_path / "scores" / "a.svs")
        assert await anext(first) == 0
        assert await anext(first) == 7
        second = score_slide.score(tmp_path / "b.svs", tmp_path / "scores" / "b.svs")
        assert await anext(second) is None, "one slide at a time"
        await first.aclose()
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
        assert await anext(second) == 0
        await second.aclose()

    event_loop.run(run())
