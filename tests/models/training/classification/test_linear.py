"""A linear classifier on frozen features learns from few images, and repeats."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.training.classification import linear
from models.training.classification.linear import predict_linear, train_linear
from models.training.settings import TrainingParameters
from models.training.task import TrainingSets
from tests.models.training.classification.test_train import CLASSES, Photos, draw_photos

PLAIN = TrainingParameters(classifier="linear", augment="none")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return draw_photos(tmp_path_factory.mktemp("photos"))


def test_two_images_per_class_are_enough_for_plain_colours(photos: Photos, tmp_path: Path) -> None:
    done: list[int] = []
    trained = train_linear(
        TrainingSets(photos[:6], photos[6:12], CLASSES), PLAIN, 0, tmp_path, progress=done.append
    )
    paths, truth = [path for path, _ in photos[12:]], [label for _, label in photos[12:]]
    probabilities = predict_linear(trained.checkpoint, paths, CLASSES)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(axis=1) == truth).mean() >= 0.9
    assert trained.history[0].learning_rate in linear.STRENGTHS
    assert done == [0]
    with pytest.raises(ValueError, match="trained with classes"):
        predict_linear(trained.checkpoint, paths, CLASSES[:2])


def test_the_seed_decides_augmented_images_alone(photos: Photos, tmp_path: Path) -> None:
    crop = TrainingParameters(classifier="linear", augment="crop", linear_copies=4)
    checkpoints = [
        train_linear(
            TrainingSets(photos[:6], photos[6:12], CLASSES), settings, seed, tmp_path / name
        ).checkpoint
        for name, settings, seed in (
            ("a", PLAIN, 0),
            ("b", PLAIN, 1),
            ("c", crop, 0),
            ("d", crop, 0),
            ("e", crop, 1),
        )
    ]
    plain, same, first, again, other = (path.read_bytes() for path in checkpoints)
    assert plain == same != first
    assert first == again != other


def test_both_groups_weigh_the_same(photos: Photos, tmp_path: Path) -> None:
    """One group has right labels, the other, which is larger, wrong ones."""
    wrong = [(path, (label + 1) % 3) for path, label in photos[3:21]]
    train, groups = [*photos[:3], *wrong], [0] * 3 + [1] * 18
    biases = [
        torch.load(
            train_linear(
                TrainingSets(train, photos[21:27], CLASSES, groups=own), PLAIN, 0, tmp_path / name
            ).checkpoint,
            weights_only=True,
        )["head"]["weight"]
        for name, own in (("all", None), ("groups", groups))
    ]
    assert not torch.equal(*biases)
    weights = linear._weights(np.array(groups))
    assert weights[:3].sum() == pytest.approx(weights[3:].sum())
    assert weights.mean() == pytest.approx(1)


def test_two_classes_have_two_rows(photos: Photos, tmp_path: Path) -> None:
    two = [(path, label) for path, label in photos if label < 2]
    trained = train_linear(TrainingSets(two[:6], two[6:10], CLASSES[:2]), PLAIN, 0, tmp_path)
    rows = predict_linear(trained.checkpoint, [path for path, _ in two[10:]], CLASSES[:2])
    assert rows.shape == (18, 2)
    assert (rows.argmax(axis=1) == [label for _, label in two[10:]]).mean() >= 0.9


def test_an_image_is_embedded_once(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_linear(TrainingSets(photos[:6], photos[6:12], CLASSES), PLAIN, 0, tmp_path / "first")

    def refuse(images: list[Path]) -> None:
        assert not images

    monkeypatch.setattr("models.embedding.cache.embed", lambda images: refuse(images) or [])
    train_linear(TrainingSets(photos[:6], photos[6:12], CLASSES), PLAIN, 1, tmp_path / "second")
