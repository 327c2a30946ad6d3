"""The engine that `VIGIL_ENGINE` chooses. This module imports nothing that takes long."""

import os
from typing import Final

VARIABLE: Final = "VIGIL_ENGINE"
ENGINES: Final = ("auto", "openvino", "torch")
"""The values of `VIGIL_ENGINE`. "auto" is OpenVINO where it works, and PyTorch elsewhere."""


class EngineRefused(Exception):  # noqa: N818 - a refusal, as ImageRefused
    """The engine that was requested does not exist or does not work. The message is one sentence."""


def chosen() -> str:
    """The engine that `VIGIL_ENGINE` names, one of ENGINES. Raises EngineRefused for any other value."""
    value = os.environ.get(VARIABLE, "").strip() or ENGINES[0]
    if value not in ENGINES:
        raise EngineRefused(f"{VARIABLE} must be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
    return value
