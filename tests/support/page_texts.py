"""All texts that the page can show, found in its templates and in the code: the keys of every catalogue.

`python -m tests.support.page_texts` writes the texts that a catalogue lacks, and its texts that nobody shows.
"""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from src.models import evaluation, perturbations
from src.page import render, translation
from src.pictures import dicom, flaws
from src.results import chart_data, class_texts, formatting
from src.server.languages import ENGLISH, LANGUAGES
from src.service import examples
from src.tasks import DISCLAIMER, TASKS
from tests.support.app import ROOT

MARKS: Final = {"_", "marked", "ngettext"}
"""The functions that mark a text in the code of the page."""
SENTENCE: Final = re.compile(r"(?:[A-Z]|%\(\w+\)s .{20}).* .*\.", re.DOTALL)
"""A text in another room that a visitor may read: it begins like a sentence and ends like one."""
SPEAKING: Final = (
    *(f"src.pictures.{path.stem}" for path in (ROOT / "src" / "pictures").glob("*.py")),
    *(f"src.service.{name}" for name in ("arguments", "batch", "clinic_table", "read_picture", "read_slide")),
    "src.service.worker_pool",
    "src.results.gate_sentences",
    "src.results.local_validation",
    "src.exports.summary",
    "src.models.prediction",
    "src.models.cine",
    "src.fair_queue",
    *(
        f"src.server.{name}"
        for name in ("admission", "bodies", "body_memory", "calls", "disk", "errors", "open_requests", "rate_limit")
    ),
)
"""The modules outside the page whose sentences it shows."""
EFFECT: Final = (
    "%(sentence)s (When %(n)s validation images were given this flaw, p(malignant) changed by %(change)s on average, "
    "and %(flipped)s of the decisions changed.)"
)
"""A warning with the effect of the flaw."""
CLIPPED: Final = ", and brighter marks were cut to white"
VALUES: Final = {"less", "more", "lower", "higher", "fewer", "right", "wrong", "black", "white", CLIPPED}
"""Words that other rooms put into their sentences."""
POINTS: Final = {"%(threshold)s, Vigil's default", "%(threshold)s, standard", "%(threshold)s, %(share)s sensitivity"}
"""The names of a clinic's operating points."""


def all_texts() -> set[str]:
    """Every text that the page can show. A placeholder is like `%(name)s`, and a per cent sign is doubled."""
    return {*of_templates(), *of_page_code(), *of_tasks(), *of_figures(), *of_sentences()}


def of_templates() -> Iterator[str]:
    for path in sorted((Path(render.__file__).parent / "templates").iterdir()):
        found = render._ENVIRONMENT.extract_translations(path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
        for _line, _function, message in found:
            yield from [message] if isinstance(message, str) else filter(None, message)


def of_page_code() -> Iterator[str]:
    """The texts that a function of MARKS marks. The argument of such a call is the text itself."""
    for path in (ROOT / "src" / "page").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in MARKS:
                texts = call.args[:2] if call.func.id == "ngettext" else call.args[:1]
                for text in texts:
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        yield text.value


def of_tasks() -> Iterator[str]:
    yield DISCLAIMER
    for name, task in TASKS.items():
        yield from (task.title, task.modality, task.data_set, task.look, task.disease, task.units)
        yield from (task.group, f"{task.group}s")
        yield from (diagnosis.name for diagnosis in task.classes)
        for text in class_texts.CLASS_TEXTS[name].values():
            yield from map(doubled, (text.plain, text.what, text.next_step))
        yield from (doubled(flaw.sentence(task)) for flaw in flaws.FLAWS if flaw.applies(task))
    yield "groups of near-duplicates"
    yield from (word for word, _bars in class_texts.URGENCIES.values())
    yield from (doubled(note) for note in (class_texts.CONFIDENCE_NOTE, class_texts.URGENCY_NOTE))
    yield from (text.removeprefix("synthetic: ").capitalize() for text in examples.images().values())


def of_figures() -> Iterator[str]:
    """The names of figures, axes and altered versions of an image."""
    yield from formatting.METRIC_NAMES.values()
    yield from (title[0].upper() + title[1:] for title in formatting.SPREAD_NAMES.values())
    yield from (formatting.share_title(name, evaluation.MALIGNANT) for name in formatting.SHARE_NAMES)
    for axes in (chart_data.roc([]).axes, chart_data.reliability([], "").axes):
        yield from (axes.x, axes.y)
    for title, lines in chart_data._LEARNING:
        yield from (title, *(name for _key, name in lines))
    yield "epoch"
    yield from (f"{title} for %(class)s" for title in ("Sensitivity",))
    for task in TASKS.values():
        yield from (doubled(one.name) for one in perturbations.perturbations(task))


def of_sentences() -> Iterator[str]:
    """The sentences of other rooms. Their values become placeholders."""
    yield from (*dicom.MODALITIES.values(), *dicom.CLASSES.values())
    yield from (EFFECT, *VALUES, *POINTS, doubled(evaluation.MALFORMED))
    for name in SPEAKING:
        yield from filter(SENTENCE.fullmatch, _texts(importlib.import_module(name)))


def _texts(module: ModuleType) -> Iterator[str]:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    unused = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            unused |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(_part(part, number, module) for number, part in enumerate(node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _with_placeholders(node.value)
    for node in tree.body:  # a constant that is put together from several texts
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.BinOp):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            value = getattr(module, ast.unparse(target))
            yield _with_placeholders(value) if isinstance(value, str) else ""


def _with_placeholders(text: str) -> str:
    """The text of a constant, which may be a template of str.format."""
    return re.sub(r"\{(\w*)(?::[^}]*)?\}", lambda found: f"%({found[1] or 'value'})s", doubled(text))


def _part(part: ast.expr, number: int, module: ModuleType) -> str:
    """A part of an f-string: its text, the text of the constant that it names, or a placeholder."""
    if isinstance(part, ast.Constant):
        return doubled(str(part.value))
    assert isinstance(part, ast.FormattedValue)
    if isinstance(part.value, ast.Name):
        constant = getattr(module, part.value.id, None)
        return doubled(constant) if isinstance(constant, str) else f"%({part.value.id})s"
    return f"%(value{number})s"


def doubled(text: str) -> str:
    """A text as the catalogues have it."""
    return text.replace("%", "%%")


def catalogues() -> Mapping[str, Mapping[str, str]]:
    """The catalogue of each language but English."""
    return {code: translation.catalogue(code) for code in LANGUAGES if code != ENGLISH}


if __name__ == "__main__":
    wanted = all_texts()
    for language, texts in catalogues().items():
        for text in sorted(wanted - texts.keys()):
            print(f"{language} lacks: {text!r}")
        for text in sorted(texts.keys() - wanted):
            print(f"{language} has, but nobody shows: {text!r}")
