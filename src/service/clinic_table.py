"""Reports on a clinic's uploaded table of scores from the default model of a task."""

from pathlib import Path

from src.results.local_validation import Report, parse_table, read_text, validate
from src.service.model_loading import Models
from src.tasks import TASKS


def validate_table(models: Models, task: str, file: str) -> Report:
    """The report on the table in `file`, compared with the default threshold of the task's default model.

    Raises TableRefused.
    """
    default = models[task].checkpoint.config.vigil.default_threshold
    return validate(parse_table(read_text(Path(file)), TASKS[task]), default)
