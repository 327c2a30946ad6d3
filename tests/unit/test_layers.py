"""Imports run one way: import-linter's contracts in pyproject.toml, and app.py, which is no package."""

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner
from importlinter import cli

from tests.support.app import ROOT


def lint(config: Path | None = None) -> tuple[int, str]:
    """The exit status and the output of import-linter in the repository root."""
    config_option = [] if config is None else ["--config", str(config)]
    result = CliRunner().invoke(cli.lint_imports_command, ["--no-cache", *config_option])
    return result.exit_code, result.output


def test_every_contract_on_imports_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    status, output = lint()
    assert status == 0, output
    assert " 0 broken." in output


def test_an_import_against_the_layers_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    turned_round = tmp_path / "turned_round.toml"
    turned_round.write_text(
        """
[tool.importlinter]
root_packages = ["src"]
[[tool.importlinter.contracts]]
name = "models above results"
type = "layers"
layers = ["src.models", "src.results"]
""",
        encoding="utf-8",
    )
    status, output = lint(turned_round)
    assert status != 0
    assert " 1 broken." in output


def test_the_app_imports_nothing_of_the_trainer() -> None:
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "src.page" in imported
    assert not any((name or "").split(".")[0] in ("train", "tests") for name in imported)
