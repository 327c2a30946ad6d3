"""The documents: CONFIGURATION.md lists the variables that the code reads, and every file and link exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.server import settings
from src.tasks import TASKS
from tests.support.app import ROOT

CONFIGURATION = ROOT / "docs" / "CONFIGURATION.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = [ROOT / "app.py", *sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "train").rglob("*.py"))]
NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
PATH = re.compile(
    r"(?:src|train|tests|docs|examples|checkpoints|dev)/[\w./-]*[\w/]|\b[\w-]+\.(?:py|md|txt|toml|cff|sh)\b"
)


def listed_variables() -> set[str]:
    """The names in the first column of CONFIGURATION.md's table of variables."""
    lines = CONFIGURATION.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| name |"))
    found = set()
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    return found


class VariablesRead(ast.NodeVisitor):
    """Collects the names of the environment variables that a module reads or sets.

    A name counts if it is a direct argument of a call or an index: as text, as a constant of the module, or as a text
    with one placeholder. A placeholder that is a parameter stands for what the module's calls give to that function;
    any other stands for the names of the tasks.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.found: set[str] = set()
        self.constants: dict[str, str] = {}
        self.function: ast.FunctionDef | None = None
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    self._remember(target, node.value)
        self.visit(tree)

    def _remember(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its_value in zip(target.elts, value.elts, strict=True):
                self._remember(one, its_value)
        elif isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            self.constants[target.id] = value.value

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.function = self.function, node
        self.generic_visit(node)
        self.function = outer

    def visit_Call(self, node: ast.Call) -> None:
        reads = ast.unparse(node.func).startswith(("os.environ", "os.getenv"))
        for argument in node.args[:1]:
            self._add(argument, reads)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._add(node.slice, ast.unparse(node.value) == "os.environ")
        self.generic_visit(node)

    def _add(self, node: ast.expr, reads: bool) -> None:
        for name in self._texts(node):
            if NAME.fullmatch(name) and (reads or name.startswith("VIGIL_")):
                self.found.add(name)

    def _texts(self, node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name) and node.id in self.constants:
            yield self.constants[node.id]
        elif isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[0], ast.Constant):
            placeholder = node.values[1]
            assert isinstance(placeholder, ast.FormattedValue)
            for value in self._values(placeholder.value):
                yield str(node.values[0].value) + value

    def _values(self, node: ast.expr) -> list[str]:
        function = self.function
        parameters = [] if function is None else [argument.arg for argument in function.args.args]
        if function is None or not isinstance(node, ast.Name) or node.id not in parameters:
            return [task.upper() for task in TASKS]
        position = parameters.index(node.id)
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        named = [call for call in calls if ast.unparse(call.func) == function.name]
        arguments = [call.args[position] for call in named if position < len(call.args)]
        return [str(argument.value) for argument in arguments if isinstance(argument, ast.Constant)]


def variables_read() -> set[str]:
    found: set[str] = set()
    for file in CODE:
        found |= VariablesRead(ast.parse(file.read_text(encoding="utf-8"))).found
    return found


def test_the_table_lists_every_variable_that_the_code_reads() -> None:
    assert variables_read() - listed_variables() == set()


def test_the_code_reads_every_vigil_variable_that_the_table_lists() -> None:
    ours = {name for name in listed_variables() if name.startswith("VIGIL_")}
    assert ours - variables_read() == set()
    assert ours == settings.OURS


def test_a_variable_that_is_read_in_any_way_is_found() -> None:
    source = """
LIMIT, PORT = "VIGIL_LIMIT", 1
os.environ.get("VIGIL_DIRECT"); os.environ["SPACE_NAME"]; os.getenv(LIMIT); rate("VIGIL_RATE", 1)
def setting(name): return os.environ.get(f"VIGIL_PART_{name}")
setting("COLOUR")
for task in tasks: os.environ[f"VIGIL_TASK_{task.upper()}"]
print("no VIGIL_VARIABLE", {"VIGIL_LISTED"}, OTHER_NAME)
"""
    expected = {"VIGIL_DIRECT", "SPACE_NAME", "VIGIL_LIMIT", "VIGIL_RATE", "VIGIL_PART_COLOUR"}
    assert VariablesRead(ast.parse(source)).found == expected | {f"VIGIL_TASK_{task.upper()}" for task in TASKS}


def named_files(text: str) -> set[str]:
    """The files and folders that a document names in code marks, without what stands in code blocks."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {name for mark in re.findall(r"`([^`\n]+)`", prose) for name in PATH.findall(mark)}


@pytest.mark.parametrize("name", sorted(named_files(CONTRIBUTING.read_text(encoding="utf-8"))))
def test_contributing_names_files_that_exist(name: str) -> None:
    assert (ROOT / name).exists()


def test_contributing_names_the_file_of_each_of_ten_likely_changes() -> None:
    _, _, section = CONTRIBUTING.read_text(encoding="utf-8").partition("## Ten likely changes")
    rows = re.findall(r"^\| [^|`]+ \| `([^`]+)` \|$", section, flags=re.MULTILINE)
    assert len(rows) == 10
    assert all((ROOT / file).is_file() for file in rows)


def links(document: Path) -> set[Path]:
    """The files of this repository that a document links to or shows."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    return {(document.parent / link).resolve() for link in found if "://" not in link}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    assert [str(link) for link in sorted(links(document)) if not link.exists()] == []


def test_the_readme_links_every_document() -> None:
    assert set(DOCUMENTS) - {README} - links(README) == set()


def test_every_picture_in_docs_is_shown() -> None:
    shown = set().union(*(links(document) for document in DOCUMENTS))
    assert set((ROOT / "docs").glob("*.png")) - shown == set()


def files_of_the_tree() -> set[str]:
    """The paths of the files in the README's annotated tree."""
    text = README.read_text(encoding="utf-8")
    tree = re.search(r"^```\n(src/\n.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert tree is not None
    files: set[str] = set()
    folders: list[str] = []
    for line in tree[1].splitlines():
        indent, name, description = re.fullmatch(r"( *)(\S+)(?: +(\S.*))?", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2]
        if name.endswith("/"):
            folders.append(name)
        else:
            assert description, line
            files.add("".join(folders) + name)
    return files


def test_the_tree_in_the_readme_describes_every_module() -> None:
    modules = {file.relative_to(ROOT).as_posix() for file in CODE if file.name != "__init__.py"} - {"app.py"}
    named = {name for name in files_of_the_tree() if name.endswith(".py")}
    assert modules - named == set(), "without a line in README.md"
    assert named - modules == set(), "in README.md, and gone"
