"""Boxes and detections drawn in code, as a ``score`` document holds them."""

from typing import Any

import numpy as np

from models.data.specs import Origin
from models.evaluation.prediction_file.table import ScoredModel

DETECTED = ("cat", "dog", "fish")
CLASSES = ("cat", "dog")
PHOTOS = 60
Rows = list[list[list[float]]]


def draw_objects(seed: int, photos: int = PHOTOS) -> Rows:
    """0 to 4 objects per photo of 200 by 150 px: cats and dogs, no fish; some photos have none."""
    rng = np.random.default_rng(seed)
    column: Rows = []
    for _ in range(photos):
        amount = int(rng.integers(0, 5))
        corners = rng.integers(0, (140, 90), (amount, 2))
        sizes = rng.integers(12, 60, (amount, 2))
        column.append(np.column_stack([rng.integers(0, 2, amount), corners, sizes]).tolist())
    return column


def detect(objects: Rows, skill: float, seed: int) -> Rows:
    """Boxes near a share ``skill`` of the objects, some twice, and boxes anywhere."""
    rng = np.random.default_rng(seed)
    column: Rows = []
    for rows in objects:
        found: list[list[float]] = []
        for label, *box in rows:
            for _ in range(int(rng.random() < skill) * int(rng.integers(1, 3))):
                shift = rng.normal(0, 0.12 * (1.3 - skill), 4) * np.tile(box[2:], 2)
                found.append([label, rng.uniform(0.3, 1), *(np.asarray(box) + shift)])
        for _ in range(rng.poisson(1.5)):
            anywhere = [*rng.uniform(0, 100, 2), *rng.uniform(10, 50, 2)]
            found.append([float(rng.integers(0, 3)), rng.uniform(0, 0.7), *anywhere])
        # Coarse scores make ties.
        rounded = [[row[0], round(row[1], 2), *(round(x, 2) for x in row[2:])] for row in found]
        column.append(sorted(rounded, key=lambda row: -row[1]))
    return column


def make_content(skill: float, seed: int, photos: int = PHOTOS) -> dict[str, Any]:
    """A ``score`` document of a detector."""
    objects = draw_objects(0, photos)
    split = {
        "images": [f"resize/{number:04}" for number in range(photos)],
        "truth": [int(rows[0][0]) if rows else -1 for rows in objects],
        "objects": objects,
        "found": detect(objects, skill, seed),
        "size": [[200, 150]] * photos,
    }
    return {"classes": list(CLASSES), "detected": list(DETECTED), "val": split, "test": split}


def make_model(dataset: str, skill: float, seed: int, *, synthetic: bool = False) -> ScoredModel:
    """A detector with its predictions."""
    origin = Origin(synthetic=synthetic, photos="all", photos_per_class=20)
    return ScoredModel(dataset, seed, make_content(skill, seed), origin)
