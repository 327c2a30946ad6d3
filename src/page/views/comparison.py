"""A task's models beside each other, as HTML: what each did on the test set, how fast it is, and both their answers.

Pure: figures in, markup out; knows nothing of Gradio or pictures.
"""

from collections.abc import Mapping, Sequence
from html import escape

from src.models.checkpoints import Checkpoint
from src.page.views.result_card import ARROW, DASH, WARNING, percent
from src.results import evaluation
from src.results.evaluation import MALIGNANT, Figure
from src.results.formatting import table
from src.results.result import ModelAnswer
from src.results.thresholds import decide, operating_point

Served = Mapping[str, Checkpoint]
"""Checkpoints of one task by their folders' names, its default first."""

Speeds = Mapping[str, float]
"""Milliseconds a picture by folder's name; of a model that was not timed there is none."""


def title(checkpoint: Checkpoint) -> str:
    """A model by the name that it is chosen by."""
    return checkpoint.config.vigil.name


def models(served: Served, speeds: Speeds) -> str:
    """Each model's test figures and speed."""
    rows = []
    for name, checkpoint in served.items():
        home, threshold = evaluation.of(checkpoint).home, checkpoint.config.vigil.default_threshold
        shares = ["–", "–"]
        if home is not None:
            point = operating_point(home.tables[MALIGNANT], threshold)
            shares = [
                _share(value, interval) if counted else "–"
                for value, interval, counted in (
                    (point.sensitivity, point.sensitivity_interval, home.positives),
                    (point.specificity, point.specificity_interval, home.negatives),
                )
            ]
        speed = f"{speeds[name]:.1f} ms" if name in speeds else "–"
        auc = _figure(home.metrics.get("auc_malignant")) if home else "–"
        rows.append([escape(title(checkpoint)), auc, *shares, f"{threshold:g}", speed])
    head = ("Model", "AUC, malignant", "Sensitivity", "Specificity", "at threshold", "A picture takes")
    counted = {place.pictures for one in served.values() if (place := evaluation.of(one).home)}
    pictures = " and ".join(f"{n:,}" for n in sorted(counted))
    return (
        f'<div class="v-models">{table(head, rows, "The models to choose from")}'
        f'<p class="v-note">On {pictures or "no"} pictures of the test set, in brackets the 95% interval. The time is '
        "this server's, from the file to the probabilities, measured when it started.</p></div>"
    )


def _figure(found: Figure | None) -> str:
    if found is None or found.value is None:
        return "–"
    low, high = found.interval
    return f"{found.value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")


def _share(value: float, interval: tuple[float, float]) -> str:
    return f"{percent(value)} ({percent(interval[0])[:-1]} to {percent(interval[1])[:-1]})"


def side_by_side(said: Sequence[ModelAnswer], served: Served, threshold: float) -> str:
    """What each model says of one picture, decided at `threshold`; `said` as `answers.compared` returns it."""
    decisions = {decide(one.p_malignant, threshold) for one in said}
    agree = (
        "<p>All of them decide alike.</p>"
        if len(decisions) == 1
        else f'<p class="v-verdict v-borderline">{WARNING}<span><b>They disagree.</b> Where models disagree, neither '
        "answer should be leaned on.</span></p>"
    )
    cards = "".join(_card(one, served[one.model], threshold) for one in said)
    return (
        f'<section class="v-compare" role="status"><h3>The models side by side</h3>{agree}<div class="v-cards">{cards}'
        "</div></section>"
    )


def _card(one: ModelAnswer, checkpoint: Checkpoint, threshold: float) -> str:
    p = one.p_malignant
    refer = decide(p, threshold) == "refer"
    kind, sign, word = ("v-refer", ARROW, "Refer") if refer else ("v-no-referral", DASH, "No referral")
    return (
        f'<article class="{kind}"><h4>{escape(title(checkpoint))}</h4><p class="v-word">{sign}{word}</p>'
        f"<p>p(malignant) <b>{percent(p)}</b>, threshold {percent(threshold)}</p>"
        f'<div class="v-scale" aria-hidden="true"><i class="v-fill" style="width:{100 * p:.2f}%"></i>'
        f'<i class="v-mark" style="left:{100 * threshold:.2f}%"></i></div>'
        f"<p>Most probable: {escape(one.most_probable)}, {percent(one.probability)}</p></article>"
    )
