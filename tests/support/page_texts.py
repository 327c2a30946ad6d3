"""All texts that the page can show, from its templates and from the code: the keys of every catalogue."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import nodes

from src.models.checkpoints import MALFORMED as MALFORMED_CHECKPOINT
from src.models.evaluation import MALFORMED
from src.page import render, translation
from src.page.blocks import EXAMPLES
from src.page.views import published
from src.pictures import quality
from src.results import chart_data, class_texts, formatting, result
from src.tasks import DISCLAIMER, TASKS
from tests.support.app import ROOT

MARKS = {"_", "marked", "ngettext", "gettext"}
"""The functions that mark a text in the code."""
SENTENCE = re.compile(r"[A-Z%].* .*[.!]$", re.DOTALL)
"""A text in the code of another room that a visitor may read: it begins like a sentence and ends like one."""
