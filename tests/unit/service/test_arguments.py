"""src/service/arguments.py: micrometres per pixel that anyone may have sent."""

from typing import Any

import pytest

from src.service.arguments import ArgumentRefused, mpp_of
from src.tasks import TASKS

SCALED = TASKS["histopathology"]


@pytest.mark.parametrize(("value", "mpp"), [(None, None), ("", None), (0.1, 0.1), (1, 1.0), (4, 4.0), (0.25, 0.25)])
def test_a_scale_of_a_microscope_is_taken(value: Any, mpp: float | None) -> None:
    assert mpp_of(value, SCALED) == mpp


@pytest.mark.parametrize(("value", "named"), [(0, "0"), (-1, "-1"), (0.09, "0.09"), (352.8, "352.8")])
def test_another_is_refused_with_its_value(value: Any, named: str) -> None:
    with pytest.raises(ArgumentRefused, match="µm per pixel is not the scale of a microscope") as caught:
        mpp_of(value, SCALED)
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("value", [True, "0.25", [0.25], {}, float("nan"), float("inf"), 10**400])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentRefused, match=r"must be a number from 0\.1 to 4\.$"):
        mpp_of(value, SCALED)


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.mpp is None])
def test_a_task_without_a_scale_takes_none(task: str) -> None:
    assert mpp_of(None, TASKS[task]) is None
    with pytest.raises(ArgumentRefused, match="play no part"):
        mpp_of(0.25, TASKS[task])
