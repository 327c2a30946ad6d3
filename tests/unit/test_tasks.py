"""src/tasks.py: the record of each task."""

import pickle

import pytest

from src.tasks import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_a_record_travels_to_the_worker_processes(name: str) -> None:
    assert pickle.loads(pickle.dumps(TASKS[name])) == TASKS[name]
