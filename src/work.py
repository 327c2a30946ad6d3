"""Where pictures are read: a function and its arguments -> what it returns, with the models at hand.

The page and the API ask for all model work here, and nowhere else, so that one place can bound it. Knows nothing of
Gradio, and of a function nothing but that it takes the models first.
"""

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from src import device
from src.predictor import Predictor

P = ParamSpec("P")
R = TypeVar("R")

Models = Mapping[str, Predictor]
"""Predictors by the name of their checkpoint folder: a task's name, or TASK-NAME for its further ones."""


class Work:
    """Does the work in this process, on a lent GPU where there is one to be lent."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._lent = device.lent(self._run)

    def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(models, *args, **kwargs)`; raises what it raises."""
        return self._lent(function, *args, **kwargs)

    def _run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        return function(self.models, *args, **kwargs)
