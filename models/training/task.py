"""The vision tasks: what a dataset can be used to train, and how the result is measured.

Nothing here imports torch or scikit-learn until a task is used. Flows import this module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from models.training.history import TrainedModel
from models.training.settings import TrainingParameters

if TYPE_CHECKING:
    from models.evaluation.classification import DatasetScores

LabelledImages = Sequence[tuple[Path, int]]
# Columns by name, ready for JSON, each with one entry per image.
Predictions = Mapping[str, list[Any]]


class Train(Protocol):
    """Trains one model in a folder of its own and resumes there; see `train_once`."""

    def __call__(
        self,
        train: LabelledImages,
        val: LabelledImages,
        classes: Sequence[str],
        settings: TrainingParameters,
        seed: int,
        folder: Path,
        *,
        progress: Callable[[int], None],
    ) -> TrainedModel: ...


@dataclass(frozen=True)
class VisionTask:
    """One kind of training.

    Args:
        name: the task's name.
        settings: the record of the settings that belong to this task.
        check: raises ValueError where these settings cannot be trained. Its second argument says
            whether the training runs on this machine; if not, only the names are checked.
        train: trains on images with their class index.
        predict: from (checkpoint, image files, settings, classes) to columns of predictions.
        score: from (truth, predictions, classes) to figures and curves.
        headline: the figure of ``score`` that decides the verdict.
    """

    name: Literal["classification"]
    settings: type[TrainingParameters]
    check: Callable[[TrainingParameters, bool], None]
    train: Train
    predict: Callable[[Path, Sequence[Path], TrainingParameters, Sequence[str]], Predictions]
    score: "Callable[[Sequence[int], Predictions, Sequence[str]], DatasetScores]"
    headline: Literal["f1_macro"]


def task_of(settings: TrainingParameters) -> VisionTask:
    """The task that these settings belong to."""
    return next(task for task in TASKS.values() if type(settings) is task.settings)


def _check_classification(settings: TrainingParameters, on_this_machine: bool) -> None:
    if on_this_machine:
        from models.training.classification.train import check_ready

        check_ready(settings)
    else:
        from models.training.classification.networks import check_network

        check_network(settings.network)


def _train_classifier(
    train: LabelledImages,
    val: LabelledImages,
    classes: Sequence[str],
    settings: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    progress: Callable[[int], None],
) -> TrainedModel:
    from models.training.classification.train import train_once

    return train_once(train, val, classes, settings, seed, folder, progress=progress)


def _predict_classes(
    checkpoint: Path,
    images: Sequence[Path],
    settings: TrainingParameters,
    classes: Sequence[str],
) -> Predictions:
    """``{"probabilities"}``: per image one figure per class, rounded to six digits."""
    from models.training.classification.train import predict

    rows = predict(checkpoint, images, settings, classes)
    return {"probabilities": [[round(float(figure), 6) for figure in row] for row in rows]}


def _score_classes(
    truth: Sequence[int], predictions: Predictions, classes: Sequence[str]
) -> "DatasetScores":
    from models.evaluation.classification import as_probabilities, score

    return score(truth, as_probabilities(predictions), classes)


CLASSIFICATION = VisionTask(
    name="classification",
    settings=TrainingParameters,
    check=_check_classification,
    train=_train_classifier,
    predict=_predict_classes,
    score=_score_classes,
    headline="f1_macro",
)
TASKS: dict[str, VisionTask] = {CLASSIFICATION.name: CLASSIFICATION}
