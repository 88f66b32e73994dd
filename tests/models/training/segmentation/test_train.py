"""Segmentation: a network learns colours, its figures are scikit-learn's, a killed one resumes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from models.training.lightning_trainer import LAST
from models.training.segmentation.data import augment_together, with_masks
from models.training.segmentation.settings import SegmentationParameters
from models.training.segmentation.train import predict_maps, train_segmentation
from models.training.task import ObjectTruth
from tests.models.training.segmentation.cases import SIDE, draw, masked_images

SETTINGS = SegmentationParameters(
    image_size=SIDE, epochs=4, steps_per_epoch=6, batch_size=4, learning_rate=0.01, threads=1,
    loggers=(),
)  # fmt: skip
TRIMAP = SETTINGS.model_copy(update={"ground_truth": "trimap", "border": 0.1})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(14):
        draw(folder, number)
    return folder


def test_learns_colours_resumes_exactly_and_agrees_with_scikit_learn(
    photos: Path, tmp_path: Path
) -> None:
    train, val = (
        masked_images(photos, range(8), SETTINGS),
        masked_images(photos, range(8, 14), SETTINGS),
    )

    class KilledError(Exception):
        pass

    def kill(epoch: int) -> None:
        if epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        train_segmentation(train, val, SETTINGS, 3, tmp_path / "killed", progress=kill)
    resumed = train_segmentation(train, val, SETTINGS, 3, tmp_path / "killed")
    whole = train_segmentation(train, val, SETTINGS, 3, tmp_path / "whole")
    assert resumed.history == whole.history
    first, second = (
        torch.load(tmp_path / name / LAST, weights_only=True)["state_dict"]
        for name in ("killed", "whole")
    )
    assert all(torch.equal(first[name], second[name]) for name in second)

    predictions = predict_maps(whole.checkpoint, val, SETTINGS)
    assert predictions[0].class_map.shape == (48, SIDE)
    confusion = sum(prediction.confusion for prediction in predictions)
    hits = np.diag(confusion)
    ious = hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)
    expected = jaccard_score(
        np.concatenate([prediction.truth.ravel() for prediction in predictions]),
        np.concatenate([prediction.class_map.ravel() for prediction in predictions]),
        average=None,
    )
    np.testing.assert_allclose(ious, expected)
    assert ious.min() > 0.6


def test_a_trimap_gives_three_classes_and_other_values_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, 0, (0, 128))
    draw(tmp_path, 1, (0, 77))
    draw(tmp_path, 2, (0, 255))
    images = masked_images(tmp_path, range(3), TRIMAP)
    assert images.classes == ("background", "border", "object")
    assert set(np.unique(images.map_of(0))) == {0, 1}
    drawn = images.map_of(2)
    across = drawn[int(np.argwhere(drawn == 2)[:, 0].mean())]
    assert 12 <= (across == 1).sum() <= 14, "a tenth of 64 px left and right of the disc"
    with pytest.raises(ValueError, match="its mask is no trimap; give the values 0, 128 and 255"):
        images.map_of(1)


def test_a_photo_without_a_mask_is_refused_by_name(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    with pytest.raises(ValueError, match=r"photo\.png: it has an object without a mask"):
        with_masks([(photo, 0)], {photo: [ObjectTruth(0)]}, ("red",), SETTINGS)


def test_the_mask_moves_with_its_photo() -> None:
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    photo[10:40, 5:25] = 255
    class_map = (photo[..., 0] == 255).astype(np.uint8)
    for number in range(5):
        rng = np.random.default_rng(number)
        changed, moved = augment_together(photo, class_map, "crop", rng)
        assert moved.sum() > 0
        assert changed.shape == photo.shape
        is_bright = changed.mean(axis=2) > 100
        assert (is_bright == (moved == 1)).mean() > 0.93
