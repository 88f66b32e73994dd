"""Val alone chooses the share; test gives its score, its interval and its gain."""

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.comparison import compare, dataset_interval
from models.evaluation.prediction_file.score_content import join_seeds
from models.evaluation.predictions import ClassifierPredictions
from models.evaluation.study import StudyScores, evaluate_study, figure_rows
from tests.models.evaluation.study_case import make_points


def choices_of(scores: StudyScores) -> list[tuple[str, float, str, str]]:
    return [
        (
            found.photos_per_class,
            found.best.point.share,
            found.best.point.augment,
            found.rival.point.augment,
        )
        for found in scores.choices
    ]


def test_the_share_and_the_rival_have_the_best_val_score_and_of_equal_ones_fewest_images() -> None:
    scores = evaluate_study(make_points(), ["cut"])
    assert choices_of(scores) == [("5", 1.0, "flip", "randaugment"), ("all", 0.0, "flip", "flip")]


def test_of_equal_val_scores_the_lowest_loss_decides() -> None:
    scored = make_points()
    last = scored[-1]
    # Every photo's own class gets a little more, which changes no prediction.
    own = np.eye(3, dtype=np.float32)[last.val.y_true]
    surer = replace(last.val, probabilities=0.9 * last.val.probabilities + 0.1 * own)
    scores = evaluate_study([*scored[:-1], replace(last, val=surer)], ["cut"])
    assert choices_of(scores)[1] == ("all", 2.0, "flip", "flip")


def test_test_photos_choose_nothing() -> None:
    scored = make_points()
    swapped = [
        replace(found, test=other.test)
        for found, other in zip(scored, reversed(scored), strict=True)
    ]
    before, after = evaluate_study(scored, ["cut"]), evaluate_study(swapped, ["cut"])
    assert choices_of(before) == choices_of(after)
    assert before.choices[0].best.test != after.choices[0].best.test


def test_a_choice_has_its_test_score_and_its_gain_over_the_best_photos_alone() -> None:
    scored = make_points()
    choice, alone = evaluate_study(scored, ["cut"]).choices
    assert choice.best.test == dataset_interval(scored[2].test)
    assert choice.best.gain == compare(scored[2].test, scored[1].test)
    assert choice.best.gain is not None
    assert choice.best.gain.difference == pytest.approx(0.2, abs=0.06)
    assert alone.best == alone.rival
    assert alone.best.gain is None


def test_a_number_of_photos_without_photos_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="add share 0"):
        evaluate_study(make_points()[2:4], ["cut"])


def test_replicates_are_joined_and_near_duplicates_are_one_family() -> None:
    content = {
        "classes": ["kiwi", "plum"],
        "test": {
            "images": ["a", "b", "c"],
            "truth": [0, 0, 1],
            "probabilities": [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]],
        },
    }
    joined = join_seeds([content, content], "test", {"a": "first", "b": "first"})
    assert isinstance(joined, ClassifierPredictions)
    assert joined.probabilities.shape == (2, 3, 2)
    assert joined.family_count == 2
    assert joined.values("accuracy") == pytest.approx([2 / 3, 2 / 3])


def test_the_table_has_a_row_per_point_replicate_split_and_figure() -> None:
    scored = make_points(replicates=2)
    rows = list(figure_rows(scored))
    assert len(rows) == len(scored) * 2 * 2 * 3
    means = [
        row["value"]
        for row in rows
        if (row["photos_per_class"], row["share"], row["split"], row["figure"])
        == ("5", 1.0, "val", "f1_macro")
    ]
    assert sum(map(float, means)) / 2 == pytest.approx(
        evaluate_study(scored, ["cut"]).choices[0].best.val
    )
