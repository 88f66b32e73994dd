"""Classification as a vision task. It imports torch and scikit-learn when it is used."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.training.history import TrainedModel
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Predictions, VisionTask

if TYPE_CHECKING:
    from models.evaluation.classification import DatasetScores


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
