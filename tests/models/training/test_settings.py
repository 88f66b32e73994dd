from typing import Any

import pytest

from models.data.specs import TrainingSpec
from models.training.policy_settings import PolicyRanges
from models.training.settings import (
    ADDED_FIELDS,
    TrainingParameters,
    equal_steps,
    settings_of,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_file": "x.pth"},
        {"seeds": (1, 1)},
        {"seeds": ()},
        {"seeds": (-1,)},
        {"milestones": (0,)},
        {"epochs": 0},
        {"optimiser": "adam"},
        {"batch_size": 1},
        {"augment_ranges": {"blur_min": 3.0}},
        {"epoch_choices": (5, 5)},
        {"epoch_choices": (0, 5)},
        {"freeze": "body"},
    ],
)
def test_rejects_values_out_of_range_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrainingParameters(pretrained=False, **changes)


def test_the_learning_rate_drops_at_the_milestones() -> None:
    settings = TrainingParameters(learning_rate=0.1, milestones=(1, 3), gamma=0.5, epochs=5)
    assert settings.learning_rates() == pytest.approx((0.1, 0.05, 0.05, 0.025, 0.025))


def test_steps_are_one_pass_over_the_largest_set_unless_set() -> None:
    settings = TrainingParameters(batch_size=8)
    assert equal_steps(settings, [3, 28]).steps_per_epoch == 4
    fixed = TrainingParameters(batch_size=8, steps_per_epoch=2)
    assert equal_steps(fixed, [3, 28]) == fixed


def test_a_training_has_its_own_settings_and_those_of_the_recipe() -> None:
    shared = TrainingParameters(augment="flip", epochs=3, balanced=True)
    own = settings_of(TrainingSpec(name="a", dataset="real", augment="crop"), shared)
    assert own == shared.model_copy(update={"augment": "crop"})
    changed = TrainingSpec(name="b", dataset="real", classifier="linear", balanced=False)
    assert settings_of(changed, shared).classifier == "linear"
    assert not settings_of(changed, shared).balanced


def test_fields_that_were_added_later_keep_the_keys_of_older_trainings() -> None:
    older = TrainingParameters().key_params()
    assert not set(ADDED_FIELDS) & set(older)
    assert set(ADDED_FIELDS) <= set(TrainingParameters.model_fields)
    unused = TrainingParameters(augment_ranges=PolicyRanges(flip=0.1))
    assert unused.key_params() == older
    custom = TrainingParameters(augment="custom")
    named = TrainingParameters(augment="custom", augment_ranges=PolicyRanges())
    changed = TrainingParameters(augment="custom", augment_ranges=PolicyRanges(flip=0.1))
    assert custom.key_params() == named.key_params() != changed.key_params()


def test_each_choice_of_epochs_is_planned() -> None:
    assert TrainingParameters(epochs=20, epoch_choices=(5, 10)).planned_epochs == 15
    linear = TrainingParameters(classifier="linear", epoch_choices=(5, 10))
    assert linear.planned_epochs == 1
