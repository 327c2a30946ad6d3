"""The page's texts in other languages: every catalogue is complete, and the page shows its texts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, nodes

from src.models import evaluation
from src.page import layout, render, translation
from src.page.translation import PLACEHOLDER, gettext, ngettext, translated
from src.page.views import result_card
from src.pictures import quality, reasons
from src.pictures.decode import read
from src.pictures.picture import ImageRefused
from src.results import gate_sentences
from src.server.languages import LANGUAGES, language, language_of
from src.tasks import TASKS
from tests.support import page_texts
from tests.support.app import ROOT
