"""The written summary, or the reason why there is none, as HTML. Nothing in the text is markup."""

from src.exports.summary import Text
from src.page.render import render


def introduction(receiver: str) -> str:
    """What is sent to `receiver`, the provider of the language model, and what is not."""
    return render("writing_introduction.html", receiver=receiver)


def summary(text: Text) -> str:
    """The explanation as it stands on the page, with its author below."""
    return render("written_summary.html", text=text, paragraphs=text.text.split("\n\n"))


def failure(sentence: str) -> str:
    """The explanation's place where there is none."""
    return render("problem.html", sentence=sentence)
