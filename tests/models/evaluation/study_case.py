"""Points of a study with predictions drawn in code."""

from models.data.specs import Augmentation
from models.evaluation.study import ScoredPoint
from models.evaluation.study_point import Point
from tests.models.evaluation.prediction_case import make_dataset

# Per point (photos per class, share, augmentation): accuracy on val and on test. On test, other
# points are best than on val.
ACCURACIES: dict[tuple[str, float, Augmentation], tuple[float, float]] = {
    ("5", 0.0, "flip"): (0.5, 0.9),
    ("5", 0.0, "randaugment"): (0.6, 0.5),
    ("5", 1.0, "flip"): (0.9, 0.7),
    ("5", 2.0, "flip"): (0.8, 0.95),
    ("all", 0.0, "flip"): (0.9, 0.9),
    ("all", 0.0, "randaugment"): (0.9, 0.5),
    ("all", 1.0, "flip"): (0.7, 0.99),
    ("all", 2.0, "flip"): (0.9, 0.9),
}


def make_points(replicates: int = 3) -> list[ScoredPoint]:
    """Points of the method ``cut``, and of photos alone."""
    scored = []
    for (photos, share, augment), (val, test) in ACCURACIES.items():
        real = 10 if photos == "5" else 40
        point = Point(
            photos_per_class=photos,
            real=real,
            method="cut" if share else f"photos alone, {augment}",
            share=share,
            synthetic=int(share * real),
            augment=augment,
        )
        predictions = [make_dataset("study", accuracy, replicates) for accuracy in (val, test)]
        scored.append(ScoredPoint(point, *predictions))
    return scored
