"""The file of predictions keeps every box, and the verdict follows from it by mean AP."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.evaluation.conclusion import conclude_from
from models.evaluation.detection.predictions import DetectionPredictions, match_column
from models.evaluation.detection.scores import best_threshold, score_detection
from models.evaluation.prediction_file.score_content import join_seeds
from models.evaluation.prediction_file.table import read_predictions, write_predictions
from models.evaluation.settings import VerdictSettings
from tests.models.evaluation.detection.detection_case import (
    DETECTED,
    PHOTOS,
    make_content,
    make_model,
)


def test_the_file_keeps_every_box_and_the_verdict_follows_from_it(tmp_path: Path) -> None:
    models = [make_model("real", 0.4, seed) for seed in range(3)]
    models += [make_model("added", 0.9, 10 + seed, synthetic=True) for seed in range(3)]
    path = tmp_path / "predictions.parquet"
    write_predictions(path, models, VerdictSettings(metric="map_50_95"))
    row = pq.read_table(path).slice(3, 1).to_pylist()[0]
    content = models[0].content["val"]
    label, score, *box = content["found"][3][0]
    first = row["found"][0]
    assert (first["class"], first["score"]) == (DETECTED[int(label)], score)
    assert [first[side] for side in ("x", "y", "width", "height")] == box
    assert len(row["objects"]) == len(content["objects"][3])
    assert row["prediction"] is None
    truths = set(pq.read_table(path)["truth"].to_pylist())
    assert truths == {"cat", "dog", "no object"}
    (real, _), settings = read_predictions(path)
    assert isinstance(real, DetectionPredictions)
    assert (settings.metric, real.detected) == ("map_50_95", DETECTED)
    own = join_seeds([model.content for model in models[:3]], "test", {})
    for metric in real.figures:
        np.testing.assert_array_equal(real.values(metric), own.values(metric))
    verdict = conclude_from(path)
    assert verdict.winner == "added"
    assert verdict.text.startswith("Added to all train photos, synthetic images help: mean AP ")
    assert "photos right" not in verdict.text
    assert "No test photo, so left out of the figures: fish." in verdict.text


def test_scores_are_means_with_a_spread_over_the_seeds() -> None:
    splits = [make_content(0.6, seed)["test"] for seed in range(3)]
    matches = [match_column(split, len(DETECTED)) for split in splits]
    scores = score_detection(matches, DETECTED)
    each = [score_detection([found], DETECTED) for found in matches]
    values = [found.map_50 for found in each]
    assert scores.map_50 == pytest.approx(np.mean(values))
    assert scores.map_50_spread == pytest.approx(np.std(values, ddof=1))
    cats = [found.per_class["cat"].ap_50_95 for found in each]
    assert scores.per_class["cat"].ap_50_95 == pytest.approx(np.mean(cats))
    assert scores.images == PHOTOS
    objects = splits[0]["objects"]
    assert scores.per_class["dog"].objects == sum(row[0] == 1 for rows in objects for row in rows)
    assert list(scores.curves) == ["cat", "dog"]
    figures = scores.class_figures()
    assert list(figures) == ["AP50:95", "AP50"]
    assert figures["AP50"]["fish"].value is None
    assert each[0].map_50_spread is None


def test_detectors_that_find_nothing_have_a_score_of_zero_and_no_verdict(tmp_path: Path) -> None:
    models = [make_model("real", 0.5, seed) for seed in range(3)]
    models += [make_model("added", 0.5, seed, synthetic=True) for seed in range(3)]
    for model in models:
        model.content["test"]["found"] = [[] for _ in range(PHOTOS)]
    write_predictions(tmp_path / "p.parquet", models, VerdictSettings(metric="map_50"))
    (real, _), _ = read_predictions(tmp_path / "p.parquet")
    assert real.values("map_50").tolist() == [0, 0, 0]
    assert conclude_from(tmp_path / "p.parquet").answers[0].outcome == "no_verdict"


def test_the_threshold_is_that_of_the_best_f1() -> None:
    split = {
        "objects": [[[0, 0, 0, 10, 10], [0, 50, 50, 10, 10]], []],
        "found": [
            [[0, 0.9, 0, 0, 10, 10], [0, 0.6, 50, 50, 10, 11], [0, 0.3, 80, 80, 9, 9]],
            [[0, 0.2, 5, 5, 9, 9]],
        ],
    }
    assert best_threshold(match_column(split, 1)) == 0.6
    nothing = {"objects": [[], []], "found": [[], []]}
    assert best_threshold(match_column(nothing, 1)) == 0.5
