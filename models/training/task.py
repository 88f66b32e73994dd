"""Vision tasks: what a dataset can be used to train, and what the result predicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from models.data.records import Box
from models.training.history import TrainedModel
from models.training.settings import TrainingParameters

LabelledImages = Sequence[tuple[Path, int]]

# The class index of an image in which no object is annotated.
NO_CLASS = -1


@dataclass(frozen=True)
class ObjectTruth:
    """One object of an image: the index of its class, and where it is.

    ``mask`` is the file of its 8-bit mask, if any; ``box`` is x, y, width, height in px.
    """

    label: int
    mask: Path | None = None
    box: Box | None = None


# The objects of images by image file. Classification needs none.
Truth = Mapping[Path, Sequence[ObjectTruth]]
# Columns by name, ready for JSON, each with one entry per image.
Predictions = Mapping[str, list[Any]]


@dataclass(frozen=True)
class TrainingSets:
    """The images that one training learns from, and those that choose its epoch.

    Args:
        val: photos that choose the epoch; a class may be missing.
        classes: their names, by index.
        groups: the group of each train image; each group gives as many draws. Empty: one group.
        truth: the objects of train and val images, for tasks that need masks or boxes. A photo
            without an object has an empty entry.
    """

    train: LabelledImages
    val: LabelledImages
    classes: Sequence[str]
    groups: Sequence[int] = ()
    truth: Truth = field(default_factory=dict)


class Train(Protocol):
    """Trains one model in a folder of its own and resumes there; see `train_once`."""

    def __call__(
        self,
        sets: TrainingSets,
        parameters: TrainingParameters,
        seed: int,
        folder: Path,
        *,
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
        trainer: what trains with these settings.
        predict: from (checkpoint, images, settings, classes, truth) to columns of predictions.
        names: further names that predictions are counted by, such as the segments of pixels.
    """

    name: Literal["classification", "segmentation", "detection"]
    settings: type[TrainingParameters]
    check: Callable[[TrainingParameters, bool], None]
    trainer: Callable[[TrainingParameters], Train]
    predict: Callable[[Path, LabelledImages, TrainingParameters, Sequence[str], Truth], Predictions]
    names: Callable[[TrainingParameters, Sequence[str]], dict[str, list[str]]] = (
        lambda settings, classes: {}
    )


def task_of(settings: TrainingParameters) -> VisionTask:
    """The task that these settings belong to; flows call it late, because it imports torch."""
    if settings.task == "segmentation":
        from models.training.segmentation.task import SEGMENTATION

        return SEGMENTATION
    if settings.task == "detection":
        from models.training.detection.task import DETECTION

        return DETECTION
    from models.training.classification.task import CLASSIFICATION

    return CLASSIFICATION
