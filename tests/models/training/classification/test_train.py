import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from models.training.classification.networks import build_network
from models.training.classification.train import check_ready, predict, train_once
from models.training.epoch_module import TrainingDivergedError
from models.training.history import TrainedModel
from models.training.pretrained import WeightsMissingError
from models.training.settings import TrainingParameters, equal_steps

CLASSES = ("red", "green", "blue")
FAST: dict[str, Any] = {
    "network": "small_cnn",
    "pretrained": False,
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "milestones": (3,),
    "batch_size": 8,
    "image_size": 32,
    "epochs": 4,
    "augment": "trivial",
    "loggers": ("csv",),
    # With more threads than idle cores, the threads wait for each other.
    "threads": 1,
}
Photos = list[tuple[Path, int]]


def parameters(**changes: Any) -> TrainingParameters:
    return TrainingParameters(**FAST | changes)


def draw_photos(folder: Path) -> Photos:
    """Noise images in which the colour of the class dominates; no two are equal."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for index in range(42):
        pixels = rng.integers(0, 160, (40, 56, 3), np.uint8)
        pixels[..., 2 - index % 3] += 80
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), pixels)
        photos.append((path, index % 3))
    return photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return draw_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def trained(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("trained")
    return train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, folder)


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True)["state_dict"]
    return state


def assert_same_training(run: TrainedModel, other: TrainedModel) -> None:
    assert run.history == other.history
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (weights(r.checkpoint.parent, name) for r in (run, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    csv = "logs/csv/metrics.csv"
    assert (run.checkpoint.parent / csv).read_text() == (other.checkpoint.parent / csv).read_text()


def test_keeps_the_best_epoch_of_a_training_that_learns(
    trained: TrainedModel, photos: Photos
) -> None:
    best = trained.history[trained.best_epoch]
    assert best.val_f1_macro == max(record.val_f1_macro for record in trained.history) >= 0.9
    assert trained.history[0].train_loss > trained.history[-1].train_loss
    assert [record.learning_rate for record in trained.history] == pytest.approx(
        [3e-3] * 3 + [3e-4]
    )
    assert trained.epochs_run == 4
    assert trained.steps_per_epoch == 4
    probabilities = predict(trained.checkpoint, [p for p, _ in photos[28:]], parameters(), CLASSES)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (14, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = probabilities.argmax(axis=1) == [label for _, label in photos[28:]]
    assert right.mean() == pytest.approx(best.val_accuracy, abs=1e-6)


def test_predictions_repeat_and_follow_the_order_of_the_photos(
    trained: TrainedModel, photos: Photos
) -> None:
    paths = [path for path, _ in photos[28:]]
    first = predict(trained.checkpoint, paths, parameters(), CLASSES)
    assert np.array_equal(first, predict(trained.checkpoint, paths, parameters(), CLASSES))
    backwards = predict(trained.checkpoint, paths[::-1], parameters(), CLASSES)
    assert backwards[::-1] == pytest.approx(first, abs=1e-5)
    assert predict(trained.checkpoint, [], parameters(), CLASSES).shape == (0, 3)


def test_prediction_rejects_settings_that_the_checkpoint_was_not_trained_with(
    trained: TrainedModel, photos: Photos
) -> None:
    with pytest.raises(ValueError, match="trained with classes"):
        predict(trained.checkpoint, [photos[0][0]], parameters(), ("red", "blue", "green"))
    with pytest.raises(ValueError, match="trained with image_size 32, not 64"):
        predict(trained.checkpoint, [photos[0][0]], parameters(image_size=64), CLASSES)


def test_the_seed_decides_the_weights(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    torch.manual_seed(123)  # the process's own generator must not matter
    again = train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, tmp_path / "again")
    assert_same_training(trained, again)
    other = train_once(photos[:28], photos[28:], CLASSES, parameters(epochs=1), 8, tmp_path / "o")
    assert other.history[0] != trained.history[0]


def test_a_killed_training_resumes_to_the_same_weights(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from models.training.classification.module import ClassifierModule
        from tests.models.training.classification.test_train import CLASSES, draw_photos, parameters
        from models.training.classification.train import train_once

        original = ClassifierModule.on_train_batch_start

        def kill_in_third_epoch(self, batch, batch_idx):
            if self.current_epoch == 2 and batch_idx == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, batch, batch_idx)

        ClassifierModule.on_train_batch_start = kill_in_third_epoch
        photos = draw_photos(Path(sys.argv[1]) / "photos")
        train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, Path(sys.argv[1]) / "run")
    """)
    command = [sys.executable, "-c", script, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    epochs: list[int] = []
    # The same photos are read from another folder: only their content counts.
    run = train_once(
        photos[:28],
        photos[28:],
        CLASSES,
        parameters(),
        7,
        tmp_path / "run",
        progress=epochs.append,
    )
    assert epochs == [2, 3]
    assert_same_training(trained, run)


class StoppedError(Exception):
    pass


def stop_after(last: int) -> Callable[[int], None]:
    def stop(epoch: int) -> None:
        if epoch == last:
            raise StoppedError

    return stop


def test_a_training_resumed_with_loader_processes_gives_the_same_weights(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        train_once(
            photos[:28], photos[28:], CLASSES, parameters(), 7, tmp_path, progress=stop_after(0)
        )
    run = train_once(photos[:28], photos[28:], CLASSES, parameters(workers=1), 7, tmp_path)
    assert_same_training(trained, run)


def test_a_corrupt_checkpoint_restarts_the_training(
    trained: TrainedModel, photos: Photos, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoppedError):
        train_once(
            photos[:28], photos[28:], CLASSES, parameters(), 7, tmp_path, progress=stop_after(1)
        )
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:1000])
    assert_same_training(
        trained, train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, tmp_path)
    )
    assert "last.ckpt: cannot be read" in caplog.text


def test_a_finished_training_is_returned_as_it_is(trained: TrainedModel, photos: Photos) -> None:
    folder = trained.checkpoint.parent
    before = (folder / "last.ckpt").stat().st_mtime_ns
    again = train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, folder)
    assert again == trained
    assert (folder / "last.ckpt").stat().st_mtime_ns == before
    assert TrainedModel.model_validate_json(trained.model_dump_json()) == trained


def test_rejects_the_folder_of_another_training(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    folder = trained.checkpoint.parent
    with pytest.raises(ValueError, match="holds a training with epochs 4, not 5"):
        train_once(photos[:28], photos[28:], CLASSES, parameters(epochs=5), 7, folder)
    other = tmp_path / "0.png"
    cv2.imwrite(str(other), np.full((40, 56, 3), 9, np.uint8))
    with pytest.raises(ValueError, match="holds a training with train"):
        train_once([(other, 0), *photos[1:28]], photos[28:], CLASSES, parameters(), 7, folder)


def test_sets_of_any_size_take_the_same_steps(photos: Photos, tmp_path: Path) -> None:
    sets = {"real": photos[:3], "synthetic": photos[:28]}
    shared = equal_steps(parameters(epochs=2), [len(images) for images in sets.values()])
    models = {
        name: train_once(images, photos[28:], CLASSES, shared, 7, tmp_path / name)
        for name, images in sets.items()
    }
    steps = {
        name: torch.load(tmp_path / name / "last.ckpt", weights_only=True)["global_step"]
        for name in sets
    }
    assert steps == {"real": 8, "synthetic": 8}
    assert {model.steps_per_epoch for model in models.values()} == {4}


def test_early_stopping_waits_for_its_number_of_epochs(photos: Photos, tmp_path: Path) -> None:
    slow = parameters(learning_rate=1e-9, epochs=30, early_stopping_patience=2, augment="none")
    run = train_once(photos[:28], photos[28:], CLASSES, slow, 7, tmp_path)
    assert run.epochs_run == run.best_epoch + 3 < 30


def test_training_writes_only_into_its_folder(
    photos: Photos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a training must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    working_folder = tmp_path / "working"
    working_folder.mkdir()
    monkeypatch.chdir(working_folder)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    short = parameters(epochs=1, loggers=("csv", "tensorboard"))
    train_once(photos[:28], photos[28:], CLASSES, short, 7, tmp_path / "run")
    assert not list(working_folder.iterdir())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "logs",
        "run.json",
        "trained.json",
    ]
    assert sorted(path.name for path in (tmp_path / "run" / "logs").iterdir()) == [
        "csv",
        "tensorboard",
    ]
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_trainings_in_threads_do_not_disturb_each_other(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    models: list[TrainedModel] = []

    def train(folder: Path) -> None:
        models.append(train_once(photos[:28], photos[28:], CLASSES, parameters(), 7, folder))

    threads = [threading.Thread(target=train, args=(tmp_path / name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(models) == 2
    assert_same_training(trained, models[0])
    assert_same_training(trained, models[1])


def test_missing_weights_fail_before_the_training_starts(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    study = TrainingParameters(revision="abc123")
    with pytest.raises(WeightsMissingError) as caught:
        train_once(photos[:28], photos[28:], CLASSES, study, 42, tmp_path / "run")
    message = str(caught.value)
    assert "timm/efficientnet_b3.ra2_in1k@abc123" in message
    assert "weights_file" in message
    assert "--set train.network=tf_efficientnet_lite0" in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()
    with pytest.raises(WeightsMissingError, match="small_cnn has no published weights"):
        check_ready(parameters(pretrained=True))


def test_a_weights_file_gives_the_body_and_a_new_head(
    trained: TrainedModel, tmp_path: Path
) -> None:
    saved = weights(trained.checkpoint.parent, "best.ckpt")
    body = {
        k.removeprefix("network."): w.contiguous() for k, w in saved.items() if "metrics" not in k
    }
    save_file(body, tmp_path / "body.safetensors")
    for file in (trained.checkpoint, tmp_path / "body.safetensors"):
        network = build_network("small_cnn", 5, 32, TrainingParameters(weights_file=file))
        state = network.state_dict()
        assert torch.equal(state["stem.0.weight"], body["stem.0.weight"])
        assert state["head.weight"].shape == (5, 160)


def test_training_starts_from_a_weights_file(
    trained: TrainedModel, photos: Photos, tmp_path: Path
) -> None:
    tuned = parameters(
        pretrained=True, weights_file=trained.checkpoint, epochs=1, learning_rate=1e-5
    )
    run = train_once(photos[:28], photos[28:], CLASSES, tuned, 7, tmp_path)
    assert run.history[0].train_loss < trained.history[1].train_loss


def test_timm_networks_train(photos: Photos, tmp_path: Path) -> None:
    settings = parameters(network="test_vit", epochs=1, steps_per_epoch=1, precision="bf16-mixed")
    run = train_once(photos[:28], photos[28:], CLASSES, settings, 7, tmp_path)
    paths = [path for path, _ in photos[:2]]
    assert np.isfinite(predict(run.checkpoint, paths, settings, CLASSES)).all()


def test_a_diverged_training_names_the_fix(photos: Photos, tmp_path: Path) -> None:
    wild = parameters(network="test_vit", optimizer="sgd", learning_rate=10.0, steps_per_epoch=30)
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        train_once(photos[:28], photos[28:], CLASSES, wild, 7, tmp_path)


def test_rejects_sets_that_cannot_be_trained(photos: Photos, tmp_path: Path) -> None:
    def train(images: Photos, val: Photos, classes: tuple[str, ...] = CLASSES) -> None:
        train_once(images, val, classes, parameters(), 7, tmp_path / "run")

    with pytest.raises(ValueError, match="train set: it has no image"):
        train([], photos)
    with pytest.raises(ValueError, match="val set: it has no image"):
        train(photos, [])
    with pytest.raises(ValueError, match="class 'blue' has no image"):
        train([photo for photo in photos if photo[1] < 2], photos)
    with pytest.raises(ValueError, match="has class 2 of 2"):
        train(photos, photos, ("red", "green"))
    with pytest.raises(ValueError, match="give at least two"):
        train(photos, photos, ("red",))
    (tmp_path / "broken.png").write_bytes(photos[0][0].read_bytes()[:200])
    with pytest.raises(ValueError, match=r"broken\.png: the file is corrupt"):
        train([(tmp_path / "broken.png", 0), *photos], photos)
    with pytest.raises(ValueError, match=r"gone\.png"):
        train([(tmp_path / "gone.png", 0), *photos], photos)


def body_and_head(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The statistics of the first batch normalisation and the head's weights."""
    saved = weights(folder)
    return saved["network.stem.1.running_mean"], saved["network.head.weight"]


def test_the_body_is_frozen_for_some_steps(photos: Photos, tmp_path: Path) -> None:
    frozen = {}
    for steps in (0, 4, 8):
        settings = parameters(epochs=2, frozen_steps=steps, augment="none")
        train_once(photos[:28], photos[28:], CLASSES, settings, 7, tmp_path / str(steps))
        frozen[steps] = body_and_head(tmp_path / str(steps))
    # 2 epochs of 4 steps: with 8 frozen ones the body keeps its first statistics, which are 0.
    assert torch.count_nonzero(frozen[8][0]) == 0
    assert torch.count_nonzero(frozen[4][0]) > 0
    assert not torch.equal(frozen[4][1], frozen[8][1])
    assert not torch.equal(frozen[0][0], frozen[4][0])


def test_groups_are_drawn_equally_often(photos: Photos, tmp_path: Path) -> None:
    """Three photos with right labels are one group, those with wrong labels the other."""
    wrong = [(path, (label + 1) % 3) for path, label in photos[3:28]]
    train = [*photos[:3], *wrong]
    settings = parameters(epochs=1, augment="none", steps_per_epoch=4)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, groups in zip(folders, (None, [0] * 3 + [1] * 25), strict=True):
        train_once(train, photos[28:], CLASSES, settings, 7, folder, groups=groups)
    first, second = (weights(folder)["network.head.weight"] for folder in folders)
    assert not torch.equal(first, second)


def test_a_frozen_body_keeps_its_weights_and_statistics(photos: Photos, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = build_network("resnet18", 3, 32).state_dict()
    torch.save(before, tmp_path / "resnet18.pth")
    settings = parameters(
        network="resnet18",
        pretrained=True,
        weights_file=tmp_path / "resnet18.pth",
        freeze="body",
        optimizer="sgd",
        weight_decay=0.1,
        epochs=2,
        steps_per_epoch=2,
    )
    train_once(photos[:28], photos[28:], CLASSES, settings, 7, tmp_path / "run")
    after = weights(tmp_path / "run")
    body = [name for name in before if not name.startswith("fc.")]
    assert sum("running_var" in name for name in body) == 20
    assert all(torch.equal(after[f"network.{name}"], before[name]) for name in body)
    assert not torch.equal(after["network.fc.weight"], before["fc.weight"])
    # Only the head has a momentum.
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert len(saved["optimizer_states"][0]["state"]) == 2


def test_one_cycle_resumes_to_the_same_weights(photos: Photos, tmp_path: Path) -> None:
    settings = parameters(schedule="onecycle", epochs=3)
    sets = (photos[:28], photos[28:], CLASSES, settings, 7)
    whole = train_once(*sets, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train_once(*sets, tmp_path / "stopped", progress=stop_after(0))
    assert_same_training(whole, train_once(*sets, tmp_path / "stopped"))
    rates = [record.learning_rate for record in whole.history]
    # 12 steps: the rate is highest after 2.6 of them, and each epoch reports that of its last step.
    assert rates[0] > rates[1] > rates[2]
    assert rates[0] > 0.9 * settings.learning_rate
    assert rates[2] < 1e-4 * settings.learning_rate
