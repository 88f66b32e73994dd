"""Classification as a vision task; importing it imports torch and scikit-learn."""

from collections.abc import Sequence
from pathlib import Path

from models.evaluation.classification import DatasetScores, as_probabilities, score
from models.training.classification.networks import check_network
from models.training.classification.train import check_ready, predict, train_once
from models.training.settings import TrainingParameters
from models.training.task import Predictions, VisionTask


def _check(settings: TrainingParameters, on_this_machine: bool) -> None:
    if on_this_machine:
        check_ready(settings)
    else:
        check_network(settings.network)


def _predict(
    checkpoint: Path,
    images: Sequence[Path],
    settings: TrainingParameters,
    classes: Sequence[str],
) -> Predictions:
    """``{"probabilities"}``: per image one figure per class, rounded to six digits."""
    rows = predict(checkpoint, images, settings, classes)
    return {"probabilities": [[round(float(figure), 6) for figure in row] for row in rows]}


def _score(truth: Sequence[int], predictions: Predictions, classes: Sequence[str]) -> DatasetScores:
    return score(truth, as_probabilities(predictions), classes)


CLASSIFICATION = VisionTask(
    name="classification",
    settings=TrainingParameters,
    check=_check,
    train=train_once,
    predict=_predict,
    score=_score,
    headline="f1_macro",
)
