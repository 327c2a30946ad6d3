"""The written summary, or the reason why there is none, as HTML. Nothing in the text is markup."""

from html import escape

from src.exports.summary import Text
from src.page.views.result_card import WARNING


def summary(text: Text) -> str:
    """The explanation as it stands on the page: nothing in it is markup, and who wrote it stands below."""
    paragraphs = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in text.text.split("\n\n"))
    return (
        f'<section class="v-written" aria-label="Written explanation">{paragraphs}<p class="v-note"><b>Written by a '
        f"machine</b>: {escape(text.model)}, by way of {escape(text.provider)}, from the numbers and texts on this "
        "page. It has not seen the picture and may be wrong. No diagnosis: see a clinician.</p></section>"
    )


def failure(sentence: str) -> str:
    """The explanation's place where there is none."""
    return f'<p class="v-problem" role="alert">{WARNING}<span>{escape(sentence)}</span></p>'
