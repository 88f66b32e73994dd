"""Detection: detectors learn colours and places, a killed training resumes, boxes are of photos."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.training.detection.settings import DetectionParameters
from models.training.detection.task import DETECTION
from models.training.detection.train import train_detector
from models.training.lightning_trainer import LAST
from models.training.task import TrainingSets
from tests.models.training.detection.cases import CLASSES, HEIGHT, WIDTH, boxed_sets

SETTINGS = DetectionParameters(
    image_size=96, epochs=5, steps_per_epoch=6, batch_size=4, learning_rate=0.003, augment="flip",
    sampler="class_aware", threads=1, loggers=(),
)  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> TrainingSets:
    return boxed_sets(tmp_path_factory.mktemp("photos"), 12, 6)


def test_learns_resumes_exactly_and_finds_boxes_of_the_photo(
    sets: TrainingSets, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: int) -> None:
        if epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        train_detector(sets, SETTINGS, 3, tmp_path / "killed", progress=kill)
    resumed = train_detector(sets, SETTINGS, 3, tmp_path / "killed")
    whole = train_detector(sets, SETTINGS, 3, tmp_path / "whole")
    assert resumed.history == whole.history
    first, second = (
        torch.load(tmp_path / name / LAST, weights_only=True)["state_dict"]
        for name in ("killed", "whole")
    )
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert whole.best.val_score > 0.6

    found = DETECTION.predict(whole.checkpoint, sets.val, SETTINGS, CLASSES, sets.truth)
    assert found["size"] == [[WIDTH, HEIGHT]] * len(sets.val)
    assert found["objects"] == [
        [[real.label, *real.box] for real in sets.truth[path] if real.box] for path, _ in sets.val
    ]
    for objects, rows in zip(found["objects"], found["found"], strict=True):
        overlaps = [_overlap(wanted, rows[0]) for wanted in objects if wanted[0] == rows[0][0]]
        assert not objects or max(overlaps) > 0.5
    scores = [[row[1] for row in rows] for rows in found["found"]]
    assert scores == [sorted(image, reverse=True)[:100] for image in scores]


def _overlap(wanted: list[Any], row: list[Any]) -> float:
    (_, left, top, width, height), (_, _, x, y, w, h) = wanted, row
    across = min(left + width, x + w) - max(left, x)
    down = min(top + height, y + h) - max(top, y)
    shared = max(across, 0) * max(down, 0)
    return shared / (width * height + w * h - shared)
