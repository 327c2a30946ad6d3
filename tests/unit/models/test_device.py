"""src/models/device.py: with the `spaces` package of a Gradio Space and without."""

import importlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.models import device


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as it was, after a test has loaded it anew."""
    yield
    monkeypatch.undo()
    importlib.reload(device)


def test_without_spaces_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)  # as if it were not installed
    importlib.reload(device)

    def call() -> None:
        pass

    assert device.lent(call) is call


def test_with_spaces_a_gpu_is_borrowed_for_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def borrow(call: Callable[..., Any], *, duration: int) -> Callable[..., Any]:
        asked.append(duration)
        return lambda *arguments: ("borrowed", call(*arguments))

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=borrow))
    importlib.reload(device)
    assert device.lent(abs)(-1) == ("borrowed", 1)
    assert asked == [device.SECONDS]


@pytest.mark.parametrize(("available", "name"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(available: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert device.name() == name
