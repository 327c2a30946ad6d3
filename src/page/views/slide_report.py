"""The tab of whole slides: what a slide's scores say, its hot spots, and the answer about one tile."""

from typing import Final

from markupsafe import Markup

from src.page.render import render
from src.service.read_slide import TASK, TileAnswer, Viewed
from src.slides.library import MANY_FILES, SUFFIXES

HEAT_MAP: Final = "Grad-CAM"


def intro() -> Markup:
    """The text above the viewer."""
    return render("slide_intro.html")


def viewer() -> Markup:
    """The place of the viewer, which src/page/slide.js fills."""
    return render("slide_viewer.html")


def upload(limit: int) -> Markup:
    """The place where a visitor sends a slide of at most `limit` bytes, by src/page/slide.js."""
    suffixes = ",".join(sorted(SUFFIXES - MANY_FILES))
    return render("slide_upload.html", megabytes=limit // 10**6, suffixes=suffixes)


def progress(percent: int | None) -> Markup:
    """How far the reading of an uploaded slide is; None while another one is read."""
    return render("slide_progress.html", percent=percent)


def report(viewed: Viewed) -> Markup:
    """What is known of a slide, and the list of its hot spots."""
    return render("slide_report.html", viewed=viewed, report=viewed.report, look=TASK.look)


def tile(answer: TileAnswer) -> Markup:
    """The answer about one tile."""
    return render("slide_tile.html", answer=answer, method=HEAT_MAP, look=TASK.look)


def problem(sentence: str) -> Markup:
    """The sentence that says why a slide or a tile cannot be shown."""
    return render("problem.html", sentence=sentence)
