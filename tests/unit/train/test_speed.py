"""train/speed.py: the measured speed of the training loop."""

import re
from pathlib import Path

import pytest

from train import speed

pytestmark = pytest.mark.slow


def test_speed_is_measured_against_the_same_step(
    data: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recipe_file), "--data", str(data), "--rounds", "1", "--batches", "2", "--workers", "0"]
    assert speed.main(arguments) == 0
    found = re.search(
        r"real loop (\d+) images/s, from memory (\d+) images/s, ratio (\d\.\d\d)", capsys.readouterr().out
    )
    assert found is not None
    assert float(found[3]) == pytest.approx(int(found[1]) / int(found[2]), abs=0.1)
    assert speed.main(["breastmnist-logistic", "--data", str(data)]) == 1
