"""Vision tasks: what a dataset can be used to train, and how the result is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from models.training.history import TrainedModel
from models.training.settings import TrainingParameters

if TYPE_CHECKING:
    from models.evaluation.classification import DatasetScores
    from models.evaluation.segmentation import SegmentationScores

    Scores = DatasetScores | SegmentationScores

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
        truth: Truth | None = None,
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
        predict: from (checkpoint, images, settings, classes, truth) to columns of predictions.
        score: from (truth, predictions, classes) to figures and curves.
        names: further names that predictions are counted by, such as the segments of pixels.
        headline: the figure of ``score`` that decides the verdict.
    """

    name: Literal["classification", "segmentation"]
    settings: type[TrainingParameters]
    check: Callable[[TrainingParameters, bool], None]
    trainer: Callable[[TrainingParameters], Train]
    predict: Callable[[Path, LabelledImages, TrainingParameters, Sequence[str], Truth], Predictions]
    score: "Callable[[Sequence[int], Predictions, Sequence[str]], Scores]"
    headline: Literal["f1_macro", "miou"]
    names: Callable[[TrainingParameters, Sequence[str]], dict[str, list[str]]] = (
        lambda settings, classes: {}
    )


def task_of(settings: TrainingParameters) -> VisionTask:
    """The task that these settings belong to; flows call it late, because it imports torch."""
    if settings.task == "segmentation":
        from models.training.segmentation.task import SEGMENTATION

        return SEGMENTATION
    from models.training.classification.task import CLASSIFICATION

    return CLASSIFICATION
