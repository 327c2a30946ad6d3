"""HTML as a tree, for tests of the text that a reader sees."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "img", "input"}
"""Elements of HTML that have no end tag."""


@dataclass
class Element:
    """An element with its attributes and its content: texts and elements."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    content: list["Element | str"] = field(default_factory=list)

    def all(self) -> Iterator["Element"]:
        """The element and everything below it, in the order of the text."""
        yield self
        for part in self.content:
            if isinstance(part, Element):
                yield from part.all()

    def find(self, tag: str = "", classes: str = "", attribute: str = "") -> list["Element"]:
        """The elements with this tag, all of these classes and this attribute. Each condition is optional."""
        return [
            one
            for one in self.all()
            if tag in ("", one.tag)
            and set(classes.split()) <= set(one.attributes.get("class", "").split())
            and (not attribute or attribute in one.attributes)
        ]

    def one(self, tag: str = "", classes: str = "", attribute: str = "") -> "Element":
        """The only such element."""
        (found,) = self.find(tag, classes, attribute)
        return found

    @property
    def text(self) -> str:
        """Its visible text in one line, with a space between elements, but none before punctuation."""
        parts = [part if isinstance(part, str) else f" {part.text} " for part in self.content if self.tag != "style"]
        return re.sub(r" ([,.:;)])", r"\1", " ".join("".join(parts).split()))

    def values(self, attribute: str) -> list[str]:
        """The values of this attribute in all elements."""
        return [one.attributes[attribute] for one in self.find(attribute=attribute)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        closed = self.open.pop()
        assert closed.tag == tag, f"<{closed.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parse(markup: str) -> Element:
    """Parse HTML. Raises AssertionError if an end tag is missing or in the wrong place."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    (root,) = reader.open
    return root


def text(markup: str) -> str:
    """The visible text of HTML in one line."""
    return parse(markup).text
