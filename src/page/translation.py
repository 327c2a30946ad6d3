"""The page's texts in the visitor's language. src/page/catalogues has a catalogue for each language but English.

The English texts stand in the templates and in the code, where gettext's functions mark them, and are the keys of the
catalogues. The rooms below the page know English only: `translated` finds their sentences in the catalogue, also those
into which they have put values. A text that a catalogue lacks appears in English.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from src.page.number_format import local
from src.server.languages import ENGLISH, language, speaking

CATALOGUES: Final = Path(__file__).with_name("catalogues")
PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")
LONGEST: Final = 1_000
"""The length of the longest sentence in which values are looked for, in characters."""


@cache
def catalogue(code: str) -> Mapping[str, str]:
    """English text -> text in the language with this code.

    As in gettext, a placeholder is like `%(name)s`, and a per cent sign is doubled.
    """
    if code == ENGLISH:
        return {}
    texts: dict[str, str] = json.loads((CATALOGUES / f"{code}.json").read_text(encoding="utf-8"))
    return texts


@cache
def _patterns(code: str) -> list[tuple[re.Pattern[str], str]]:
    """The English texts with placeholders as patterns, those with the most fixed characters first."""
    found = []
    for english, text in catalogue(code).items():
        fixed = PLACEHOLDER.split(english)
        if len(fixed) > 1:
            # A placeholder that occurs again has the same value.
            parts = [
                re.escape(part % ()) if at % 2 == 0 else f"(?P={part})" if part in fixed[1:at:2] else f"(?P<{part}>.*?)"
                for at, part in enumerate(fixed)
            ]
            found.append((sum(map(len, fixed[::2])), re.compile("".join(parts), re.DOTALL), text))
    return [(pattern, text) for _, pattern, text in sorted(found, key=lambda one: -one[0])]


def lookup(text: str, /) -> str:
    """`text` in the visitor's language, with its placeholders."""
    return catalogue(language.get()).get(text, text)


def gettext(text: str, /, **values: object) -> str:
    """`text` in the visitor's language, with `values` in place of its placeholders."""
    return lookup(text) % values


def ngettext(singular: str, plural: str, n: int, /) -> str:
    """`singular` or `plural` in the visitor's language, for `n` things, with its placeholders."""
    one = n < 2 if language.get() == "fr" else n == 1
    return lookup(singular if one else plural)


def marked(text: str) -> str:
    """`text` itself. It marks a constant that `gettext` translates when the page shows it."""
    return text


def translated(text: str) -> str:
    """A sentence that another room wrote in English, in the visitor's language.

    Its values are translated too if they are numbers or texts of the catalogue, such as the name of a class.
    """
    code = language.get()
    if code == ENGLISH or len(text) > LONGEST:
        return text
    known = catalogue(code)

    def exact(english: str) -> str:
        found = known.get(english.replace("%", "%%"))
        return local(english) if found is None else found % ()

    for pattern, found in () if text.replace("%", "%%") in known else _patterns(code):
        if match := pattern.fullmatch(text):
            return found % {name: exact(value) for name, value in match.groupdict().items()}
    return exact(text)


def translated_to(text: str, code: str) -> str:
    """`translated` in the language with this code."""
    with speaking(code):
        return translated(text)
