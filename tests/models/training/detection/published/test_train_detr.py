"""A published detector is trained, resumed and used as every other detector is."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from models.training.detection.published import detr
from models.training.detection.settings import DetectionParameters
from models.training.detection.train import check_ready, find_objects, train_detector
from tests.checkpoints import detr as tiny
from tests.models.training.detection.cases import CLASSES, boxed_sets

SETTINGS = DetectionParameters(
    network="rtdetr_v2_r18vd", image_size=128, epochs=2, steps_per_epoch=1, batch_size=2,
    threads=1, loggers=(), augment="none", score_threshold=0.1,
)  # fmt: skip


class KilledError(Exception):
    pass


def test_learns_is_resumed_and_finds_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detr, "locate", lambda reference: tmp_path / "tiny")
    tiny.build(tmp_path / "tiny", SETTINGS.network)
    check_ready(SETTINGS)
    sets = boxed_sets(tmp_path, 3, 2)

    def kill(epoch: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train_detector(sets, SETTINGS, 0, tmp_path / "killed", progress=kill)
    resumed = train_detector(sets, SETTINGS, 0, tmp_path / "killed")
    whole = train_detector(sets, SETTINGS, 0, tmp_path / "whole")
    assert resumed.history == whole.history
    left, right = (
        torch.load(trained.checkpoint, weights_only=True)["state_dict"]
        for trained in (resumed, whole)
    )
    assert all(torch.equal(left[name], right[name]) for name in right)
    files = [path for path, _ in sets.val]
    for image in find_objects(whole.checkpoint, files, SETTINGS, CLASSES):
        assert image.size == (96, 72)
        assert (image.detections.boxes.max(0).values[2:] <= torch.tensor([96, 72])).all()
        assert image.detections.scores.min() >= 0.1


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"pretrained": False}, "starts from the checkpoint PekingU/rtdetr_v2_r18vd"),
        ({"weights_file": "w.pth"}, "remove weights_file"),
        ({"image_size": 96}, "rtdetr_v2_r18vd needs 128 px or more; 96 is too small"),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused(
    changed: dict[str, object], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        DetectionParameters.model_validate({"network": SETTINGS.network, **changed})


def test_a_revision_is_part_of_the_checkpoint() -> None:
    assert SETTINGS.checkpoints == ("PekingU/rtdetr_v2_r18vd",)
    pinned = SETTINGS.model_copy(update={"revision": "abc"})
    assert pinned.checkpoints == ("PekingU/rtdetr_v2_r18vd@abc",)
    assert DetectionParameters().checkpoints == ()
