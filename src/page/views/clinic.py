"""The tab "Your clinic" as HTML: what to bring, and what the clinic's table says of the model."""

from src.page.render import render
from src.results.local_validation import Report


def intro() -> str:
    """What to bring."""
    return render("clinic_intro.html")


def refusal(sentence: str) -> str:
    """Why a table was not read."""
    return render("problem.html", sentence=sentence)


def report(shown: Report, target: float) -> str:
    """The report, with the threshold that keeps the sensitivity `target`, one of its targets."""
    return render("clinic_report.html", report=shown, target=shown.targets[target])
