"""One task's tab: its models, controls, answers and events."""

from collections.abc import Mapping

from src.models.checkpoints import Checkpoint
from src.page.tabs import task_events
from src.page.tabs.served_models import ServedModels
from src.page.tabs.task_answers import TaskAnswers
from src.page.tabs.task_controls import TaskControls
from src.service.worker_pool import Work


class TaskTab:
    """Draws itself where it is made, within the page's blocks.

    `checkpoints` has the task's checkpoints by their folders' names, the default first; `speeds` the milliseconds per
    picture of each model.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint], speeds: Mapping[str, float], work: Work) -> None:
        self.models = ServedModels(checkpoints)
        self.controls = TaskControls(self.models, speeds)
        self.answers = TaskAnswers(self.controls, self.models, work)
        task_events.connect(self.answers)
