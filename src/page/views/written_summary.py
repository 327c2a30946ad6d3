"""The written explanation, or the reason why there is none, as HTML. Markup in the text is escaped."""

from src.exports.summary import Text
from src.page.render import render


def introduction(receiver: str) -> str:
    """The sentences on what is sent to `receiver`, the provider of the language model, and what is not."""
    return render("writing_introduction.html", receiver=receiver)


def summary(text: Text) -> str:
    """The explanation, with the name of its author below."""
    return render("written_summary.html", text=text, paragraphs=text.text.split("\n\n"))


def failure(sentence: str) -> str:
    """The text in place of the explanation: `sentence` is the reason why there is none."""
    return render("problem.html", sentence=sentence)
