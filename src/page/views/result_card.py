"""A Result -> what the page shows of it, as HTML.

Pure: knows wording and markup, nothing of Gradio, pictures or models. Whatever is put into markup is escaped here.
Never colour alone: every state has a word and a sign of its own.
"""

from html import escape

from src.models.checkpoints import Checkpoint
from src.results import formatting
from src.results.result import ClassResult, GateResult, Result
from src.tasks import DISCLAIMER, Task

# Drawn here, so that the page needs no icon font: decorative, the word beside each says the same.
_ICON = (
    '<svg class="v-icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.2" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>'
)
ARROW = _ICON.format('<circle cx="12" cy="12" r="10"/><path d="M8 12h8M12.5 8l4 4-4 4"/>')
# No tick: below the threshold is not "healthy".
DASH = _ICON.format('<circle cx="12" cy="12" r="10"/><path d="M8 12h8"/>')
WARNING = _ICON.format('<path d="M12 3.5L2.5 20h19z"/><path d="M12 10v4.5M12 17.4v.1"/>')
INFO = _ICON.format('<circle cx="12" cy="12" r="10"/><path d="M12 11v5.5M12 7.6v.1"/>')


def notice() -> str:
    """The line that stands above everything."""
    return f'<div class="v-notice" role="note">{INFO}<p>{escape(DISCLAIMER)}</p></div>'


def header() -> str:
    """Title and what Vigil is, in one line."""
    return (
        '<header class="v-header"><h1>Vigil</h1><p>Reads four kinds of medical image for signs of cancer, '
        "shows where it looked, and says what its threshold costs.</p></header>"
    )


def intro(task: Task, checkpoint: Checkpoint) -> str:
    """What to put into this tab and which model reads it."""
    vigil = checkpoint.config.vigil
    problem = (
        f'<p class="v-problem">{WARNING}<span>{escape(checkpoint.problem)}</span></p>' if checkpoint.problem else ""
    )
    return (
        f'<div class="v-intro"><h2>{escape(task.title)}</h2><p>For {escape(task.modality)}. Learned from '
        f'{escape(task.data_set)}.</p>{problem}<p class="v-model">Model <b>{escape(vigil.name)}</b>, revision '
        f"<code>{escape(checkpoint.revision)}</code>, {escape(_source(checkpoint))}</p></div>"
    )


def _source(checkpoint: Checkpoint) -> str:
    return "embedded weights" if checkpoint.source == "embedded" else f"weights from {checkpoint.source}"


def examples_heading() -> str:
    """What the examples are."""
    return (
        '<div class="v-examples"><h3>Examples</h3><p class="v-note">'
        "Synthetic: drawn by a program, no patient's picture."
        " Whatever the model says of them shows how the page works, not how well it reads.</p></div>"
    )


def empty() -> str:
    """The decision's place before there is one."""
    return (
        '<div class="v-empty" role="status"><p>No picture read yet.</p>'
        "<p>Choose a picture or click an example; the answer appears here.</p></div>"
    )


def refusal(sentence: str) -> str:
    """The decision's place where a picture cannot be read."""
    return (
        f'<div class="v-decision v-refused" role="alert">{WARNING}<div><p class="v-word">Not read</p>'
        f"<p>{escape(sentence)}</p></div></div>"
    )


def gate(task: Task, verdict: GateResult) -> str:
    """The decision's place where the picture does not look like one of `task`: a question, and nothing of an answer.

    `verdict` is the result's `gate`.
    """
    return (
        f'<div class="v-decision v-refused v-gate" role="alert">{WARNING}<div><p class="v-word">Not shown yet</p>'
        f"<p>{escape(verdict.sentence or '')}</p><p>This tab is for {escape(task.modality)}; of anything else its "
        "answer means nothing.</p></div></div>"
    )


def decision(result: Result) -> str:
    """The banner: refer or not, and p(malignant) on a bar with a mark at the threshold."""
    p, threshold, refer = result.p_malignant, result.threshold, result.decision == "refer"
    word, sign, kind = ("Refer", ARROW, "v-refer") if refer else ("No referral", DASH, "v-no-referral")
    relation = "at or above" if refer else "below"
    label = f"p(malignant) {percent(p)}, threshold {percent(threshold)}"
    return (
        f'<div class="v-decision {kind}" role="status">{sign}<div><p class="v-word">{word}</p>'
        f"<p>p(malignant) is <b>{percent(p)}</b>, {relation} the threshold of <b>{percent(threshold)}</b>.</p>"
        f'<div class="v-scale" role="img" aria-label="{label}"><i class="v-fill" style="width:{100 * p:.2f}%"></i>'
        f'<i class="v-mark" style="left:{100 * threshold:.2f}%"></i></div>'
        '<p class="v-ends" aria-hidden="true"><span>0%</span><span>p(malignant)</span><span>100%</span></p>'
        f"{_although(result)}</div></div>"
    )


def _although(result: Result) -> str:
    """That the answer is shown although the gate did not know the picture for one of the task."""
    if result.gate is None or result.gate.accepted:
        return ""
    return f'<p class="v-although">{WARNING}<span>Shown at your wish. {escape(result.gate.sentence or "")}</span></p>'


def details(result: Result) -> str:
    """Class probabilities, warnings and what part of the picture was read."""
    return _quality(result) + _classes(result) + _region(result)


def _quality(result: Result) -> str:
    items = "".join(f"<li>{WARNING}<span>{escape(line)}</span></li>" for line in result.quality)
    return f'<h3>About this picture</h3><ul class="v-warnings">{items}</ul>' if items else ""


def _classes(result: Result) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(c.name)}{_tag(c)}</th><td class="v-share" aria-hidden="true">'
        f'<i class="{"v-malignant" if c.malignant else ""}" style="width:{100 * c.probability:.2f}%"></i></td>'
        f"<td>{percent(c.probability)}</td></tr>"
        for c in result.classes
    )
    return (
        '<h3>Classes</h3><table class="v-classes"><caption class="v-hidden">Calibrated probability of each class, most '
        'probable first</caption><thead class="v-hidden"><tr><th scope="col">Class</th><th scope="col">Share</th>'
        f'<th scope="col">Probability</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _tag(one: ClassResult) -> str:
    return ' <span class="v-tag">malignant</span>' if one.malignant else ""


def _region(result: Result) -> str:
    (left, upper, right, lower), (width, height) = result.region, result.size
    if result.whole_image:
        seen = f"The whole picture was read, {width} × {height} pixels."
    else:
        what = "The lesion that was found" if result.region_kind == "lesion" else "The scanned field"
        seen = (
            f"{what} was read, {right - left} × {lower - upper} of {width} × {height} pixels, "
            f"from {left}, {upper}; the heat map frames it."
        )
    return f'<p class="v-note">{seen}</p>'


def percent(share: float) -> str:
    """`formatting.percent`, escaped."""
    return escape(formatting.percent(share))
