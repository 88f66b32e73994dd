"""YOLO trainings run in a process of their own; here a stand-in answers for ultralytics."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from models.training.detection.module import checkpoint_metadata
from models.training.detection.published import yolo_process
from models.training.detection.published.yolo_process import run_yolo
from models.training.detection.settings import DetectionParameters
from models.training.detection.task import DETECTION
from models.training.epoch_module import TrainingDivergedError
from models.training.task import TrainingSets
from tests.models.training.detection import cases
from tests.models.training.detection.published import stand_in

SETTINGS = DetectionParameters(
    network="yolov8n", pretrained=False, image_size=96, epochs=2, steps_per_epoch=3, batch_size=2,
    threads=1, loggers=(), optimizer="sgd", learning_rate=0.001, augment="flip",
    early_stopping_patience=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, as the program of SYNTHSET_YOLO_PYTHON."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in.__file__}" "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("SYNTHSET_YOLO_PYTHON", str(path))
    checkpoint = {"state_dict": {}, "classifier": checkpoint_metadata(SETTINGS, cases.CLASSES)}
    torch.save(checkpoint, tmp_path / "ready.ckpt")
    monkeypatch.setenv("STAND_IN_CHECKPOINT", str(tmp_path / "ready.ckpt"))
    return path


@pytest.fixture
def sets(tmp_path: Path) -> TrainingSets:
    """Five photos to train on, of which the last shows no object, and two for val."""
    return cases.boxed_sets(tmp_path, 5, 2)


def _train(sets: TrainingSets, folder: Path, **more: Any) -> Any:
    return DETECTION.trainer(SETTINGS)(sets, SETTINGS, 3, folder, **more)


def test_trains_on_a_yolo_folder_and_keeps_the_epoch_with_the_best_ap50(
    sets: TrainingSets, tmp_path: Path
) -> None:
    epochs: list[int] = []
    trained = _train(sets, tmp_path / "t", progress=epochs.append)
    assert epochs == [0, 1]
    assert (trained.best_epoch, trained.epochs_run, trained.seconds) == (0, 2, 1.0)
    assert trained.parameters_count == 7
    assert trained.best.val_score == 0.5
    assert trained.checkpoint == tmp_path / "t" / "best.ckpt"
    work = tmp_path / "t" / "yolo"
    options = json.loads((work / "train.json").read_text())["options"]
    assert options["model"] == "yolov8n.yaml"
    assert options["pretrained"] is False
    assert (options["epochs"], options["batch"], options["nbs"]) == (2, 2, 2)
    assert (options["optimizer"], options["lr0"], options["patience"]) == ("SGD", 0.001, 4)
    assert (options["mosaic"], options["seed"], options["amp"]) == (0.0, 3, False)
    shown = (work / "seen" / "epoch.txt").read_text().split()
    assert len(shown) == 6
    assert len(set(shown)) == 5, "each photo is shown about equally often"
    labels = work / "seen" / "labels" / "train"
    first = sets.train[0][0]
    (box,) = [found.box for found in sets.truth[first]][:1]
    assert box is not None
    row = (labels / f"{first.stem}.txt").read_text().split("\n")[0].split()
    x, y, width, height = box
    assert [float(text) for text in row] == pytest.approx(
        [0, (x + width / 2) / 96, (y + height / 2) / 72, width / 96, height / 72]
    )
    assert (labels / "4.txt").read_text() == "", "a photo without an object"
    environment = json.loads((work / "environment.json").read_text())
    assert environment["YOLO_OFFLINE"] == "true"
    assert environment["YOLO_CONFIG_DIR"].startswith(str(work))
    assert "PYTHONPATH" not in environment
    assert not (work / "dataset").exists(), "copies of photos are removed at the end"
    assert _train(sets, tmp_path / "t", progress=pytest.fail) == trained


class KilledError(Exception):
    pass


def test_a_killed_training_continues_and_reports_no_epoch_twice(
    sets: TrainingSets, tmp_path: Path
) -> None:
    def kill(epoch: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        _train(sets, tmp_path / "t", progress=kill)
    # The stand-in may have gone further before it was stopped.
    (tmp_path / "t" / "yolo" / "state").write_text("1")
    epochs: list[int] = []
    trained = _train(sets, tmp_path / "t", progress=epochs.append)
    assert epochs == [1]
    assert len(trained.history) == 2


def test_finds_objects_in_px_of_the_photo(sets: TrainingSets, tmp_path: Path) -> None:
    trained = _train(sets, tmp_path / "t")
    columns: Mapping[str, list[Any]] = DETECTION.predict(
        trained.checkpoint, sets.val, SETTINGS, cases.CLASSES, sets.truth
    )
    assert columns["found"] == [[[1, 0.75, 4.0, 8.0, 36.0, 40.0]]] * 2
    assert columns["size"] == [[96, 72]] * 2
    assert [len(objects) for objects in columns["objects"]] == [
        len(sets.truth[path]) for path, _ in sets.val
    ]
    with pytest.raises(ValueError, match="trained with image_size 96, not 128"):
        DETECTION.predict(
            trained.checkpoint,
            sets.val,
            SETTINGS.model_copy(update={"image_size": 128}),
            cases.CLASSES,
            sets.truth,
        )


def test_failures_name_the_log_and_the_learning_rate(sets: TrainingSets, tmp_path: Path) -> None:
    failing = replace(sets, classes=("fail", "b"))
    with pytest.raises(
        ValueError,
        match=r"\(RuntimeError: out of memory\); correct what it names: all it wrote is in .*log",
    ):
        _train(failing, tmp_path / "f")
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        _train(replace(sets, classes=("diverge", "b")), tmp_path / "d")


def test_says_how_to_install_ultralytics(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DETECTION.check(SETTINGS, True)
    python.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ValueError, match=r"has no ultralytics \(AGPL-3.0\); install it in an"):
        DETECTION.check(SETTINGS, True)
    monkeypatch.setenv("SYNTHSET_YOLO_PYTHON", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="no such program"):
        DETECTION.check(SETTINGS, True)


def test_the_program_is_stopped_with_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    real = yolo_process.subprocess.Popen
    monkeypatch.setattr(
        yolo_process.subprocess,
        "Popen",
        lambda *a, **b: started.append(real(*a, **b)) or started[-1],
    )
    job = {"folder": str(tmp_path / "w"), "images": ["a"] * 3}
    for _ in run_yolo("predict", job):
        break
    assert started[-1].poll() is not None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"pretrained": True}, "yolov8n comes without weights; give weights_file, a .pt file"),
        ({"pretrained": True, "weights_file": "w.safetensors"}, "w.safetensors is no .pt file"),
        ({"schedule": "milestones"}, "yolov8n has onecycle alone, not milestones"),
        ({"frozen_steps": 5}, "frozen_steps: yolov8n trains all layers alike; set it to 0"),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused(
    changed: dict[str, object], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        DetectionParameters.model_validate({"network": "yolov8n", "pretrained": False, **changed})
