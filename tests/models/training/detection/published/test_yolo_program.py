"""The program that uses ultralytics: what it keeps of each epoch, and what it refuses.

Fast tests put a trainer of their own in place of that of ultralytics. The last one trains for real.
"""

import io
import json
import os
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from models.training.detection.published import yolo_program
from models.training.detection.published.yolo_process import interpreter
from models.training.detection.settings import DetectionParameters
from models.training.detection.task import DETECTION
from models.training.task import TrainingSets
from tests.models.training.detection import cases

# As the shell has it: tests run without the variables of synthset.
YOLO_PYTHON = os.environ.get("SYNTHSET_YOLO_PYTHON")
# AP50 and loss on val of each epoch.
FIGURES = [(0.2, 3.0), (0.6, 2.0), (0.6, 1.0), (0.6, 1.5)]


class KilledError(Exception):
    pass


class FakeTrainer:
    """Does what `yolo_program` relies on: ``validate``, ``save_model``, and the figures' names."""

    stops_after: int | None = None
    resumed: list[str] = []

    def __init__(self, overrides: dict[str, Any]) -> None:
        self.options = overrides
        self.last = Path(overrides["save_dir"]) / "last.pt"
        self.last.parent.mkdir(exist_ok=True)
        self.tloss = {"box_loss": torch.tensor(1.5), "cls_loss": 0.5}
        self.lr = {"lr/pg0": 0.01}
        self.model = torch.nn.Linear(2, 3)
        ema = SimpleNamespace(yaml={"nc": 2}, state_dict=self.model.state_dict)
        self.ema = SimpleNamespace(ema=ema)

    def train(self) -> None:
        state = self.options.get("resume")
        first = 0
        if state is not None:
            FakeTrainer.resumed.append(Path(state).name)
            first = int(Path(state).read_text()) + 1
        for self.epoch in range(first, len(FIGURES)):
            self.metrics, fitness = self.validate()
            assert fitness == FIGURES[self.epoch][0]
            self.stop = self.epoch + 1 == len(FIGURES)
            self.save_model()
            if self.epoch == FakeTrainer.stops_after:
                raise KilledError

    def validate(self) -> tuple[dict[str, float], float]:
        score, loss = FIGURES[self.epoch]
        figures = {"metrics/mAP50(B)": score, "metrics/mAP50-95(B)": 0.1, "val/box_loss": loss}
        return figures, 0.1

    def save_model(self) -> bool:
        self.last.write_text(str(self.epoch))
        return True


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    fake: Any = ModuleType("ultralytics.models.yolo.detect")
    fake.DetectionTrainer = FakeTrainer
    for name in ("ultralytics", "ultralytics.models", "ultralytics.models.yolo"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(FakeTrainer, "stops_after", None)
    monkeypatch.setattr(FakeTrainer, "resumed", [])
    return {"folder": str(tmp_path), "options": {}, "metadata": {"classes": ["a", "b"]}}


def _train(job: dict[str, Any]) -> list[dict[str, Any]]:
    report = io.StringIO()
    try:
        yolo_program._train(job, report)
    finally:
        rows = [json.loads(line) for line in report.getvalue().splitlines()]
    return rows


def test_keeps_the_weights_of_the_best_epoch_and_the_last_state(
    job: dict[str, Any], tmp_path: Path
) -> None:
    rows = _train(job)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[2]["val_map_50"] == 0.6
    assert (rows[2]["train_loss"], rows[2]["val_loss"], rows[2]["parameters"]) == (2.0, 1.0, 9)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"best.ckpt", "best-2.ckpt", "state-3.pt", "history.json", "run"}
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert saved["classifier"] == {"classes": ["a", "b"]}
    assert saved["state_dict"]["weight"].shape == (3, 2)
    again = _train(job)
    assert [row["is_resumed"] for row in again] == [True] * 4
    assert FakeTrainer.resumed == []


def test_a_killed_training_continues_after_its_last_whole_epoch(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTrainer, "stops_after", 1)
    with pytest.raises(KilledError):
        _train(job)
    # What a kill leaves before the history names it.
    (tmp_path / "state-2.pt").write_text("half")
    (tmp_path / "best-2.ckpt").write_text("half")
    monkeypatch.setattr(FakeTrainer, "stops_after", None)
    rows = _train(job)
    assert FakeTrainer.resumed == ["state-1.pt"]
    assert [(row["epoch"], row["is_resumed"]) for row in rows] == [
        (0, True), (1, True), (2, False), (3, False)
    ]  # fmt: skip
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)


def test_refuses_the_network_but_not_sockets_of_this_machine() -> None:
    for event in ("socket.getaddrinfo", "socket.gethostbyname"):
        with pytest.raises(ConnectionError, match="does not use the network"):
            yolo_program._refuse_network(event, ("example.org", 80))
    with socket.socket() as inet, pytest.raises(ConnectionError):
        yolo_program._refuse_network("socket.connect", (inet, ("127.0.0.1", 9)))
    with socket.socket(socket.AF_UNIX) as local:
        yolo_program._refuse_network("socket.connect", (local, "/tmp/socket"))
    yolo_program._refuse_network("open", ("file", "r", 0))


SETTINGS = DetectionParameters(
    network="yolov8n", pretrained=False, image_size=64, epochs=2, batch_size=2, threads=1,
    loggers=(), sampler="class_aware",
)  # fmt: skip


@pytest.mark.e2e
def test_trains_stops_continues_and_finds_objects_with_ultralytics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if YOLO_PYTHON:
        monkeypatch.setenv("SYNTHSET_YOLO_PYTHON", YOLO_PYTHON)
    try:
        interpreter()
    except ValueError as missing:
        pytest.skip(str(missing))
    sets: TrainingSets = cases.boxed_sets(tmp_path, 5, 2)

    def kill(epoch: int) -> None:
        raise KilledError

    train = DETECTION.trainer(SETTINGS)
    with pytest.raises(KilledError):
        train(sets, SETTINGS, 0, tmp_path / "t", progress=kill)
    epochs: list[int] = []
    trained = train(sets, SETTINGS, 0, tmp_path / "t", progress=epochs.append)
    assert epochs == [1]
    whole, twin = (train(sets, SETTINGS, 1, tmp_path / name) for name in ("whole", "twin"))
    assert whole.checkpoint.read_bytes() == twin.checkpoint.read_bytes()
    assert trained.parameters_count == 3_011_238
    lowered = SETTINGS.model_copy(update={"score_threshold": 0.0})
    columns = DETECTION.predict(trained.checkpoint, sets.val, lowered, cases.CLASSES, sets.truth)
    assert columns["size"] == [[96, 72]] * 2
    assert all(len(found) <= 100 for found in columns["found"])
    assert "ultralytics" not in sys.modules
    log = (tmp_path / "t" / "yolo" / "ultralytics.log").read_text(errors="replace")
    assert "does not use the network" not in log.splitlines()[-1]
    config = tmp_path / "t" / "yolo" / "config" / "Ultralytics" / "settings.json"
    assert json.loads(config.read_text())["sync"] is False
    assert os.listdir(tmp_path / "t" / "yolo" / "run" / "weights")
    with pytest.raises(ValueError, match="not yolov5s"):
        DETECTION.predict(
            trained.checkpoint,
            sets.val,
            SETTINGS.model_copy(update={"network": "yolov5s"}),
            cases.CLASSES,
            sets.truth,
        )
