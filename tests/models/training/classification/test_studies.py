"""The settings that docs/classifiers.md gives for the studies train, with installed weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from flows.config.recipe import Recipe, load_recipe
from models.embedding.weights import embedded_tensors
from models.training.classification.train import train_once
from models.training.epoch_choices import train_choices
from models.training.settings import TrainingParameters
from tests.markdown import ROOT, read_blocks
from tests.models.training.classification.test_train import CLASSES, draw_photos

# What the studies state.
STATED: dict[str, dict[str, Any]] = {
    "subject-driven": {
        "network": "resnet34.tv_in1k",
        "freeze": "body",
        "optimizer": "sgd",
        "learning_rate": 0.001,
        "schedule": "milestones",
        "milestones": (),
        "batch_size": 16,
        "early_stopping_patience": 5,
    },
    "fruit": {
        "network": "resnet18.tv_in1k",
        "freeze": "none",
        "learning_rate": 0.0001,
        "schedule": "onecycle",
        "epoch_choices": (5, 10),
        "augment": "rotate_blur_flip",
    },
}


def recipe_of(study: str, folder: Path) -> Recipe:
    """The recipe of a study in docs/classifiers.md."""
    blocks = read_blocks(ROOT / "docs" / "classifiers.md")
    (code,) = [block.code for block in blocks if STATED[study]["network"] in block.code]
    (folder / "recipe.yaml").write_text(code)
    return load_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize("study", STATED)
def test_the_page_has_what_the_studies_state(study: str, tmp_path: Path) -> None:
    recipe = recipe_of(study, tmp_path)
    assert recipe.train is not None
    assert {name: getattr(recipe.train, name) for name in STATED[study]} == STATED[study]
    policies = [spec.augment for spec in recipe.training_specs if spec.name.startswith("real_")]
    assert policies == (
        ["none", "custom", "autoaugment", "randaugment"] if study == "subject-driven" else []
    )


@pytest.mark.parametrize("study", STATED)
def test_the_settings_train_the_embedded_backbone(study: str, tmp_path: Path) -> None:
    settings = recipe_of(study, tmp_path).train
    assert settings is not None
    few = {"epochs": 1, "epoch_choices": (1, 2) if settings.epoch_choices else ()}
    small = {"image_size": 32, "steps_per_epoch": 1, "threads": 1, "loggers": ()}
    settings = TrainingParameters.model_validate(
        settings.model_dump() | few | small | {"network": "tf_efficientnet_lite0"}
    )
    photos = draw_photos(tmp_path / "photos")

    trained = train_choices(
        settings,
        tmp_path / "run",
        lambda own, folder: train_once(photos[:6], photos[6:9], CLASSES, own, 0, folder),
    )
    assert [choice.epochs for choice in trained.epoch_choices] == list(settings.epoch_choices)
    state = torch.load(trained.checkpoint, weights_only=True)["state_dict"]
    published = embedded_tensors()
    body = [name for name in published if not name.startswith("classifier.")]
    is_unchanged = all(torch.equal(state[f"network.{name}"], published[name]) for name in body)
    assert is_unchanged == (settings.freeze == "body")
