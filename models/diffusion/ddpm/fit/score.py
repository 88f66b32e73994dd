"""How near drawn images are to the crops of a class, and how much they differ from one another."""

import numpy as np
from pydantic import Field

from models.data.pixels import Floats, Matrix
from models.data.records import Record


class Evaluation(Record):
    """What a training's images look like after a step.

    Distances are cosine distances of features, 0 to 2.
    """

    step: int = Field(ge=1, description="Updates of the weights before it.")
    loss: float = Field(description="Mean loss since the evaluation before.")
    nearest: float = Field(description="Mean distance of images to their nearest crop.")
    diversity: float = Field(description="Mean distance of two images.")
    score: float = Field(description="0 is as near and as diverse as crops are; lower is better.")


def evaluate(step: int, loss: float, images: Floats, crops: Floats) -> Evaluation:
    """Compare drawn images with crops.

    The score adds two parts. The first is how far the distance to the nearest crop is from that of
    a crop to its nearest other crop, as a share of it: copies and images unlike the class both
    raise it. The second is the share of the crops' diversity that images lack.

    Args:
        step, loss: of the training.
        images, crops: features, [N, D]; two or more images. Of a single crop, the score is the
            distance to it.
    """
    from sklearn.metrics.pairwise import cosine_distances

    nearest = float(cosine_distances(images, crops).min(axis=1).mean())
    diversity = _mean_of_pairs(cosine_distances(images))
    if len(crops) == 1:
        return Evaluation(step=step, loss=loss, nearest=nearest, diversity=diversity, score=nearest)
    among = cosine_distances(crops)
    expected = _mean_of_pairs(among)
    np.fill_diagonal(among, np.inf)
    usual = float(among.min(axis=1).mean())
    # Crops that are copies of one another have no distance to compare with.
    apart = abs(nearest - usual) / max(usual, 1e-6)
    lacking = max(0.0, 1 - diversity / max(expected, 1e-6))
    return Evaluation(
        step=step, loss=loss, nearest=nearest, diversity=diversity, score=apart + lacking
    )


def best_of(evaluations: list[Evaluation]) -> Evaluation:
    """The evaluation with the lowest score, the earliest of equals."""
    return min(evaluations, key=lambda evaluation: evaluation.score)


def _mean_of_pairs(distances: Matrix) -> float:
    count = len(distances)
    return float((distances.sum() - np.trace(distances)) / (count * (count - 1)))
