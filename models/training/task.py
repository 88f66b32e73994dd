"""Vision tasks: what a dataset can be used to train, and how the result is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from models.training.history import TrainedModel
from models.training.settings import TrainingParameters

if TYPE_CHECKING:
    from models.evaluation.classification import DatasetScores

LabelledImages = Sequence[tuple[Path, int]]


@dataclass(frozen=True)
class ObjectTruth:
    """One object of an image: the index of its class, and the file of its 8-bit mask, if any."""

    label: int
    mask: Path | None = None


# The objects of images by image file. Classification needs none.
Truth = Mapping[Path, Sequence[ObjectTruth]]
# Columns by name, ready for JSON, each with one entry per image.
Predictions = Mapping[str, list[Any]]


class Train(Protocol):
    """Trains one model in a folder of its own and resumes there; see `train_once`."""

    def __call__(
        self,
        train: LabelledImages,
        val: LabelledImages,
        classes: Sequence[str],
        parameters: TrainingParameters,
        seed: int,
        folder: Path,
        *,
        groups: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> TrainedModel: ...


@dataclass(frozen=True)
class VisionTask:
    """One kind of training.

    Args:
        name: the task's name.
        settings: the record of the settings that belong to this task.
        check: raises ValueError where these settings cannot be trained. Its second argument says
            whether the training runs on this machine; if not, only the names are checked.
        trainer: what trains with these settings, on images with their class index.
        predict: from (checkpoint, image files, settings, classes) to columns of predictions.
        score: from (truth, predictions, classes) to figures and curves.
        headline: the figure of ``score`` that decides the verdict.
    """

    name: Literal["classification"]
    settings: type[TrainingParameters]
    check: Callable[[TrainingParameters, bool], None]
    trainer: Callable[[TrainingParameters], Train]
    predict: Callable[[Path, Sequence[Path], TrainingParameters, Sequence[str]], Predictions]
    score: "Callable[[Sequence[int], Predictions, Sequence[str]], DatasetScores]"
    headline: Literal["f1_macro"]


def task_of(settings: TrainingParameters) -> VisionTask:
    """The task that these settings belong to; flows call it late, because it imports torch."""
    from models.training.classification.task import CLASSIFICATION

    return next(task for task in (CLASSIFICATION,) if type(settings) is task.settings)
