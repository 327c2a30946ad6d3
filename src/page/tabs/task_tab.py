"""One task's tab: its models, controls, event handlers and events."""

from collections.abc import Mapping

from src.models.checkpoint_info import CheckpointInfo
from src.page.tabs import task_events
from src.page.tabs.served_models import ServedModels
from src.page.tabs.task_controls import TaskControls
from src.page.tabs.task_handlers import TaskHandlers
from src.service.worker_pool import WorkerPool


class TaskTab:
    """Draws itself inside the gr.Blocks in which it is created.

    `checkpoints` has the task's checkpoints by their folders' names, the default first; `speeds` has the milliseconds
    per image of each model.
    """

    def __init__(
        self, checkpoints: Mapping[str, CheckpointInfo], speeds: Mapping[str, float], pool: WorkerPool
    ) -> None:
        self.models = ServedModels(checkpoints)
        self.controls = TaskControls(self.models, speeds)
        self.handlers = TaskHandlers(self.controls, self.models, pool)
        task_events.connect(self.handlers)
