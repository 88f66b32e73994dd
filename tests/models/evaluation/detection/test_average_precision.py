"""Average precision equals that of pycocotools, and its interval that of a bootstrap."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.evaluation.comparison import dataset_interval
from models.evaluation.detection.predictions import DetectionPredictions, match_column
from models.evaluation.detection.scores import score_detection
from models.evaluation.prediction_file.score_content import join_seeds
from tests.models.evaluation.detection.detection_case import DETECTED, Rows, make_content


def evaluate_by_pycocotools(split: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(10, 101, classes) precision over all areas with at most 100 boxes; -1 without objects."""
    boxes: Rows = split["objects"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": photo} for photo in range(len(boxes))],
            "categories": [{"id": label} for label in range(len(DETECTED))],
            "annotations": [
                {"image_id": photo, "category_id": row[0], "bbox": row[1:], "iscrowd": 0}
                | {"area": row[3] * row[4]}
                for photo, rows in enumerate(boxes)
                for row in rows
            ],
        }
        for number, annotation in enumerate(truth.dataset["annotations"], 1):
            annotation["id"] = number
        truth.createIndex()
        found = truth.loadRes(
            [
                {"image_id": photo, "category_id": row[0], "score": row[1], "bbox": row[2:]}
                for photo, rows in enumerate(split["found"])
                for row in rows
            ]
        )
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, :, 0, -1], np.float64)


@pytest.mark.parametrize(("skill", "seed"), [(0.9, 1), (0.5, 2)])
def test_the_figures_are_those_of_pycocotools(skill: float, seed: int) -> None:
    content = make_content(skill, seed)
    expected = evaluate_by_pycocotools(content["test"])
    scores = score_detection([match_column(content["test"], len(DETECTED))], DETECTED)
    for index, name in enumerate(DETECTED[:2]):
        row = scores.per_class[name]
        assert row.ap_50_95 == pytest.approx(expected[:, :, index].mean(), abs=1e-9)
        assert row.ap_50 == pytest.approx(expected[0, :, index].mean(), abs=1e-9)
        assert scores.curves[name] == pytest.approx(expected[0, :, index], abs=1e-4)
    assert scores.per_class["fish"].ap_50 is None
    assert scores.map_50_95 == pytest.approx(expected[expected > -1].mean(), abs=1e-9)
    assert 0.1 < scores.map_50_95 < scores.map_50 < 1


def test_a_class_counts_its_hundred_best_boxes_in_a_photo() -> None:
    content = make_content(0.9, 1)
    split = content["test"]
    rng = np.random.default_rng(4)
    crowd = np.column_stack(
        [np.zeros(250), rng.uniform(0, 1, 250).round(3), rng.uniform(5, 90, (250, 4))]
    )
    split["found"] = [[*rows, *crowd.tolist()] for rows in split["found"][:3]] + split["found"][3:]
    expected = evaluate_by_pycocotools(split)
    scores = score_detection([match_column(split, len(DETECTED))], DETECTED)
    assert scores.per_class["cat"].ap_50 == pytest.approx(expected[0, :, 0].mean(), abs=1e-9)


def test_the_standard_error_is_that_of_a_bootstrap_over_families() -> None:
    content = make_content(0.8, 3, photos=240)
    families = {image: image[:-1] for image in content["test"]["images"][:120]}
    single = join_seeds([content], "test", families)
    assert isinstance(single, DetectionPredictions)
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(single.families == code) for code in np.unique(single.families)]
    strata = single.y_true[[rows[0] for rows in members]]
    rounds = []
    for _ in range(150):
        drawn = np.concatenate(
            [
                members[family]
                for label in np.unique(strata)
                for family in rng.choice(np.flatnonzero(strata == label), (strata == label).sum())
            ]
        )
        part = {
            name: [content["test"][name][row] for row in drawn] for name in ("objects", "found")
        }
        rounds.append(score_detection([match_column(part, len(DETECTED))], DETECTED))
    for metric in single.figures:
        found = single.jackknife(metric)
        expected = np.std([getattr(scores, metric) for scores in rounds])
        assert np.sqrt((found.deviations**2).sum()) == pytest.approx(expected, rel=0.15)
        interval = dataset_interval(single, metric)
        assert interval.low < found.values[0] < interval.high


def test_what_a_photo_changes_is_counted_without_matching_again() -> None:
    content = make_content(0.7, 5, photos=12)
    whole = join_seeds([content], "test", {})
    rows = slice(1, None)
    rest = {**content, "test": {name: column[rows] for name, column in content["test"].items()}}
    # With photos of a single class, the others of a photo's stratum are all others.
    content["test"]["truth"] = [0] * 12
    rest["test"]["truth"] = [0] * 11
    alone, whole = join_seeds([rest], "test", {}), join_seeds([content], "test", {})
    found = whole.jackknife("map_50").deviations[0, 0] / np.sqrt(11 / 12)
    # 101 recalls are coarser than the area under the curve.
    assert found == pytest.approx((alone.values("map_50") - whole.values("map_50"))[0], abs=0.02)


def test_two_detectors_that_find_everything_are_not_proven_equal() -> None:
    content = make_content(0.9, 1, photos=20)
    split = content["test"]
    split["found"] = [[[row[0], 0.9, *row[1:]] for row in rows] for rows in split["objects"]]
    perfect = join_seeds([content], "test", {})
    assert perfect.values("map_50_95") == pytest.approx([1.0])
    counts = np.bincount([int(row[0]) for rows in split["objects"] for row in rows])
    assert perfect.least_change("map_50") == pytest.approx(1 / (2 * counts.min()))
    assert dataset_interval(perfect, "map_50").low < 0.97
