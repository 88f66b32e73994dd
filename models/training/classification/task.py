"""Classification as a vision task; importing it imports torch and scikit-learn."""

from collections.abc import Sequence
from pathlib import Path

from models.embedding.weights import embedded_tensors
from models.evaluation.classification import DatasetScores, as_probabilities, score
from models.training.classification.linear import predict_linear, train_linear
from models.training.classification.networks import check_network
from models.training.classification.train import check_ready, predict, train_once
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Predictions, Train, Truth, VisionTask


def _check(settings: TrainingParameters, on_this_machine: bool) -> None:
    if settings.classifier == "linear":
        if on_this_machine:
            embedded_tensors()
    elif on_this_machine:
        check_ready(settings)
    else:
        check_network(settings.network)


def _trainer(settings: TrainingParameters) -> Train:
    return train_linear if settings.classifier == "linear" else train_once


def _predict(
    checkpoint: Path,
    images: LabelledImages,
    settings: TrainingParameters,
    classes: Sequence[str],
    _truth: Truth,
) -> Predictions:
    """``{"probabilities"}``: per image one figure per class, with seven significant digits.

    Rounded to a number of decimals, an improbable class would get 0 and an infinite loss.
    """
    files = [path for path, _ in images]
    if settings.classifier == "linear":
        rows = predict_linear(checkpoint, files, classes)
    else:
        rows = predict(checkpoint, files, settings, classes)
    return {"probabilities": [[float(f"{figure:.7g}") for figure in row] for row in rows]}


def _score(truth: Sequence[int], predictions: Predictions, classes: Sequence[str]) -> DatasetScores:
    return score(truth, as_probabilities(predictions), classes)


CLASSIFICATION = VisionTask(
    name="classification",
    settings=TrainingParameters,
    check=_check,
    trainer=_trainer,
    predict=_predict,
    score=_score,
    headline="f1_macro",
)
