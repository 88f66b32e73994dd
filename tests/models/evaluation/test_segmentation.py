"""Segmentation figures and intervals follow from confusion counts that a file keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from models.data.specs import Origin
from models.evaluation.conclusion import conclude_from
from models.evaluation.prediction_file.table import ScoredModel, read_predictions, write_predictions
from models.evaluation.segmentation import score_segmentation
from models.evaluation.settings import VerdictSettings

SEGMENTS = ("background", "cat", "dog")
PHOTOS = 24


def _confusion(right: float, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Counts of photos in which a share of the pixels of each class is right, give or take some."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(400, [right, (1 - right) / 2, (1 - right) / 2], (PHOTOS, 3)).astype(
        np.int64
    )
    return np.stack([np.roll(counts[:, row], row, axis=1) for row in range(3)], axis=1)


def _model(dataset: str, synthetic: bool, right: float, seed: int) -> ScoredModel:
    split = {
        "images": [f"resize/{number:04}" for number in range(PHOTOS)],
        "truth": [number % 2 for number in range(PHOTOS)],
        "confusion": _confusion(right, seed).tolist(),
    }
    content = {"classes": ["cat", "dog"], "segments": list(SEGMENTS), "val": split, "test": split}
    origin = Origin(synthetic=synthetic, photos="all", photos_per_class=5)
    return ScoredModel(dataset, seed, content, origin)


def test_the_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 3, (2, 500))
    confusion = np.zeros((1, 1, 3, 3), np.int64)
    np.add.at(confusion, (0, 0, truth, predicted), 1)
    scores = score_segmentation(confusion, SEGMENTS)
    ious = [scores.per_class[name].iou for name in SEGMENTS]
    assert ious == pytest.approx(jaccard_score(truth, predicted, average=None))
    assert scores.miou == pytest.approx(jaccard_score(truth, predicted, average="macro"))


def test_the_verdict_follows_from_the_file_alone(tmp_path: Path) -> None:
    models = [_model("real", False, 0.7, seed) for seed in range(3)]
    models += [_model("added", True, 0.8, 10 + seed) for seed in range(3)]
    path = tmp_path / "predictions.parquet"
    write_predictions(path, models, VerdictSettings(metric="miou"))
    (real, _), _ = read_predictions(path)
    expected = score_segmentation(np.stack([_confusion(0.7, seed) for seed in range(3)]), SEGMENTS)
    assert real.values("miou").mean() == pytest.approx(expected.miou)
    verdict = conclude_from(path)
    assert verdict.winner == "added"
    assert verdict.intervals["real"].low < expected.miou < verdict.intervals["real"].high
    assert "mean IoU" in verdict.text
    assert "photos right" not in verdict.text
