"""What a recipe compares if it does not say."""

import pytest

from flows.config.comparison import default_datasets, default_trainings, distinct_trainings
from flows.config.recipe import Recipe
from models.data.specs import DatasetSpec
from models.training.settings import TrainingParameters

BASELINES = {
    "few_shot_none",
    "few_shot_crop",
    "few_shot_randaugment",
    "few_shot_linear",
    "real_all_randaugment",
    "real_all_linear",
    "synthetic_linear",
    "added_linear",
}


def test_every_default_dataset_is_trained_and_baselines_join_them() -> None:
    recipe = Recipe()
    datasets = [spec.name for spec in recipe.dataset_specs]
    names = [spec.name for spec in recipe.training_specs]
    assert names[: len(datasets)] == datasets
    assert set(names[len(datasets) :]) == BASELINES
    balanced = {spec.name for spec in recipe.training_specs if spec.balanced}
    assert balanced == {"added", "few_shot_added", "added_linear"}


def test_a_list_replaces_the_defaults() -> None:
    datasets = [{"name": "real", "real": "all"}, {"name": "both", "real": 3}]
    recipe = Recipe.model_validate({"datasets": datasets})
    assert [spec.name for spec in recipe.training_specs] == ["real", "both"]
    trainings = [{"name": "probe", "dataset": "real", "classifier": "linear"}]
    recipe = Recipe.model_validate({"datasets": datasets, "trainings": trainings})
    assert [spec.name for spec in recipe.training_specs] == ["probe"]
    assert Recipe.model_validate({"train": None}).training_specs == ()


@pytest.mark.parametrize(
    ("trainings", "line"),
    [
        ([{"name": "a", "dataset": "rael"}], "trainings.a: there is no dataset rael"),
        ([{"name": "a", "dataset": "real"}] * 2, "trainings: the name a is taken"),
    ],
)
def test_wrong_trainings_are_refused(trainings: list[dict[str, str]], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Recipe.model_validate({"trainings": trainings})


def test_a_training_that_would_repeat_another_is_left_out_with_a_note() -> None:
    specs = default_trainings(default_datasets("multiview"), baselines=True)
    parameters = TrainingParameters(augment="crop")
    repeated = {"extra_real": "real", "real_all": "real"}
    kept, notes = distinct_trainings(specs, parameters, repeated)
    assert {spec.dataset for spec in kept if spec.name.startswith("real")} == {"real"}
    assert notes == ("few_shot_crop: not trained, because it would repeat few_shot",)
    linear = TrainingParameters(classifier="linear", augment="crop")
    kept, _ = distinct_trainings(specs, linear, {})
    assert not {"synthetic_linear", "few_shot_linear"} & {spec.name for spec in kept}


def test_datasets_of_the_study_have_one_volume() -> None:
    shares = {spec.name: spec for spec in default_datasets("multiview")}
    assert shares["mixed"] == DatasetSpec(
        name="mixed",
        real=0.5,
        synthetic={"multiview": 0.5},
        description="half real photos, half synthetic images",
    )
