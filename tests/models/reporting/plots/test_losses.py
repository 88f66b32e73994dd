"""Losses of trainings: means of the steps, and which classes the figure names."""

import pytest

from models.reporting.plots.losses import describe_losses, draw_losses, mean_losses


def test_a_point_is_the_mean_of_a_fiftieth_of_the_steps() -> None:
    steps, means = mean_losses([float(step) for step in range(500)])
    assert (len(steps), len(means)) == (50, 50)
    assert (steps[0], means[0]) == (5.5, 4.5)
    assert mean_losses([0.5, 0.25]) == ([1.0, 2.0], [0.5, 0.25])


def test_draws_at_most_eight_classes_and_says_what_is_not_drawn() -> None:
    losses = {f"class {number}": [1.0, 0.5] for number in range(10)}
    svg = draw_losses(losses).decode()
    assert svg == draw_losses(losses).decode()
    assert "class 7" in svg
    assert "class 8" not in svg
    text = describe_losses(losses)
    assert text.startswith("Mean loss by step: class 0 from 1.000 to 0.500, class 1 ")
    assert text.endswith("; 2 more classes are not drawn.")


def test_scores_of_sample_sheets_have_their_own_panel() -> None:
    losses, scores = {"mug": [1.0, 0.5], "pen": [0.9, 0.7]}, {"mug": [(10, 2.5), (20, 1.25)]}
    assert "score (0 is best)" not in draw_losses(losses).decode()
    assert "score (0 is best)" in draw_losses(losses, every=10, scores=scores).decode()
    assert describe_losses(losses, scores) == (
        "Mean loss by step: mug from 1.000 to 0.500, best score 1.25 at step 20, "
        "pen from 0.900 to 0.700."
    )


def test_a_class_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="losses: give at least one class"):
        draw_losses({"mug": []})
