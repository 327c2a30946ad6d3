"""The tab "Your clinic" as HTML: what to bring, and what the clinic's table says of the model."""

from html import escape

from src.page.views.result_card import INFO, WARNING
from src.results import formatting
from src.results.local_validation import Report


def intro() -> str:
    """What to bring, for the page."""
    return (
        '<div class="v-evidence-page"><h2>Set it for your own clinic</h2><p>How well a model reads depends on the '
        "people, the device and the pictures. Bring scores with known outcomes, and see what it does on them and which "
        "threshold keeps the sensitivity you need there.</p><ol><li>Score your pictures on your own machine: "
        "<code>python -m src.score skin pictures/ --csv scores.csv</code></li><li>Add a column <code>label</code>: "
        "<code>malignant</code> or <code>benign</code>, or the class code; and, if patients have several pictures, a "
        "column <code>group</code> with a number for each patient.</li><li>Drop the table below. It is deleted within "
        "an hour and nothing of it is kept; no picture leaves your machine.</li></ol></div>"
    )


def refusal(sentence: str) -> str:
    """Why a table was not read, for the page."""
    return f'<p class="v-problem" role="alert">{WARNING}<span>{escape(sentence)}</span></p>'


def report(shown: Report, target: float) -> str:
    """A report for the page, with what keeps one of its targets."""
    kind, sign = ("v-problem", WARNING) if shown.targets[target].threshold is None else ("v-notice", INFO)
    said = " ".join(map(escape, shown.targets[target].sentences))
    return (
        f'<div class="v-evidence-page"><p class="{kind}" role="status">{sign}<span>{said}</span></p>'
        f'<p class="v-said">{" ".join(map(escape, shown.sentences))}</p>'
        f"{formatting.table(shown.head, [list(map(escape, row)) for row in shown.points], 'Operating points')}</div>"
    )
