"""Losses of trainings: means of the steps, and which classes the figure names."""

import pytest

from models.reporting.plot_losses import describe_losses, draw_losses, mean_losses


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


def test_a_class_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="losses: give at least one class"):
        draw_losses({"mug": []})
