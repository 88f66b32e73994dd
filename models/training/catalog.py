"""The vision tasks that there are."""

from models.training.classification.task import CLASSIFICATION
from models.training.settings import TrainingParameters
from models.training.task import VisionTask

TASKS: dict[str, VisionTask] = {CLASSIFICATION.name: CLASSIFICATION}


def task_of(settings: TrainingParameters) -> VisionTask:
    """The task that these settings belong to."""
    return next(task for task in TASKS.values() if type(settings) is task.settings)
