"""The tab "Your clinic" as HTML: its instructions, and the report on the clinic's table."""

from src.page.render import render
from src.page.translation import translated
from src.results.local_validation import Report


def intro() -> str:
    """The instructions."""
    return render("clinic_intro.html")


def refusal(sentence: str) -> str:
    """The reason why a table was not read."""
    return render("problem.html", sentence=sentence)


def report(shown: Report, target: float) -> str:
    """The report with the threshold for the sensitivity `target`, which is one of the report's targets."""
    return render(
        "clinic_report.html",
        report=shown,
        head=[translated(cell) for cell in shown.head],
        points=[list(map(translated, row)) for row in shown.points],
        target=shown.targets[target],
    )
