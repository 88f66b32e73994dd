"""A cherry-picker: which of several painted objects looks most like a real one.

Source: logistic regression on features of a frozen network, as in the linear evaluation of
Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019, section 3.1.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from models.data.pixels import Floats, Matrix
from models.data.records import Record

# Strong regularisation: there are more features than squares.
STRENGTH = 0.01
MAX_ITERATIONS = 1000
FOLDS = 5


class Separator(Record):
    """A linear classifier of real objects against something else.

    ``auc`` says how well it tells squares apart that it was not fitted on: 0.5 is chance, 1 is
    always.
    """

    weights: tuple[float, ...]
    bias: float
    auc: float


class CherryPicker(Record):
    """Scores squares: how likely they show a real object of the class."""

    background: Separator = Field(description="Real objects against background.")
    synthetic: Separator | None = Field(
        None, description="Real objects against drawn ones, if there were any."
    )

    def scores(self, features: Floats) -> Matrix:
        """The score of each square, 0 to 1: the product of both probabilities.

        Args:
            features: [N, D], of the network that the picker was fitted with.
        """
        scores = _probabilities(self.background, features)
        if self.synthetic is not None:
            scores = scores * _probabilities(self.synthetic, features)
        return scores


def fit_cherry_picker(
    real: Floats, background: Floats, synthetic: Floats | None = None
) -> CherryPicker:
    """Fit a cherry-picker on features of squares, [N, D] each.

    Args:
        real: of squares that show a real object of the class.
        background: of squares that show none.
        synthetic: of squares that a generator drew; None: none are compared.

    Raises:
        ValueError: there are fewer than two squares of a kind.
    """
    return CherryPicker(
        background=_separate(real, background, "background"),
        synthetic=None if synthetic is None else _separate(real, synthetic, "drawn"),
    )


def choose_best(scores: Sequence[float]) -> int:
    """The index of the highest score, the first of equals."""
    return int(np.argmax(scores))


def _separate(real: Floats, others: Floats, name: str) -> Separator:
    if min(len(real), len(others)) < 2:
        raise ValueError(
            f"cherry-picker: {len(real)} real and {len(others)} {name} squares; give at least 2 of "
            "each, or set cherry_picker: null"
        )
    features = np.concatenate([real, others]).astype(np.float64)
    labels = np.repeat([1, 0], [len(real), len(others)])
    model = make_pipeline(
        StandardScaler(),
        # Kinds count alike, however many squares they have.
        LogisticRegression(C=STRENGTH, max_iter=MAX_ITERATIONS, class_weight="balanced"),
    )
    folds = StratifiedKFold(min(FOLDS, len(real), len(others)), shuffle=True, random_state=0)
    # The order of additions depends on the number of threads.
    with threadpool_limits(1):
        unseen = cross_val_predict(model, features, labels, cv=folds, method="decision_function")
        scaler, regression = (step for _, step in model.fit(features, labels).steps)
    weights = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - weights @ scaler.mean_)
    auc = float(roc_auc_score(labels, unseen))
    return Separator(weights=tuple(weights.tolist()), bias=bias, auc=round(auc, 4))


def _probabilities(separator: Separator, features: Floats) -> Matrix:
    with threadpool_limits(1):
        logits = features.astype(np.float64) @ np.array(separator.weights) + separator.bias
    return np.asarray(expit(logits))
