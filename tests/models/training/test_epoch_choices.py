"""Of trainings of several lengths, val alone chooses one."""

from pathlib import Path
from typing import Any

import pytest

from models.training.epoch_choices import train_choices
from models.training.history import EpochRecord, TrainedModel
from models.training.settings import TrainingParameters


def trained(epochs: int, folder: Path, val_f1: float, val_loss: float = 1.0) -> TrainedModel:
    names = [
        f"{split}_{name}" for split in ("train", "val") for name in ("accuracy", "f1_weighted")
    ]
    figures: dict[str, Any] = dict.fromkeys([*names, "train_f1_macro", "train_loss"], 0.5)
    record = EpochRecord(
        epoch=0, learning_rate=0.1, val_f1_macro=val_f1, val_loss=val_loss, **figures
    )
    return TrainedModel(
        network="small_cnn",
        parameters_count=1,
        classes=("a", "b"),
        seed=0,
        train_images=2,
        steps_per_epoch=1,
        epochs_run=epochs,
        best_epoch=0,
        history=(record,),
        checkpoint=folder / "best.ckpt",
        seconds=1.5,
    )


@pytest.mark.parametrize(
    ("figures", "chosen"),
    [
        ({5: (0.7, 1.0), 10: (0.8, 2.0)}, 10),
        ({5: (0.8, 1.0), 10: (0.8, 2.0)}, 5),
        ({5: (0.8, 1.0), 10: (0.8, 1.0)}, 5),
    ],
)
def test_val_chooses_the_number_of_epochs(
    figures: dict[int, tuple[float, float]], chosen: int, tmp_path: Path
) -> None:
    settings = TrainingParameters(epochs=3, epoch_choices=(5, 10))
    used: list[tuple[int, str]] = []

    def train_in(own: TrainingParameters, folder: Path) -> TrainedModel:
        used.append((own.epochs, folder.name))
        assert own.epoch_choices == ()
        return trained(own.epochs, folder, *figures[own.epochs])

    best = train_choices(settings, tmp_path, train_in)
    assert used == [(5, "epochs-5"), (10, "epochs-10")]
    assert best.epochs_run == chosen
    assert best.checkpoint == tmp_path / f"epochs-{chosen}" / "best.ckpt"
    assert best.seconds == 3.0
    assert [(c.epochs, c.val_score, c.chosen) for c in best.epoch_choices] == [
        (count, figures[count][0], count == chosen) for count in (5, 10)
    ]


@pytest.mark.parametrize("changes", [{}, {"classifier": "linear", "epoch_choices": (5, 10)}])
def test_without_choices_there_is_one_training(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = TrainingParameters(epochs=3, **changes)
    best = train_choices(settings, tmp_path, lambda own, folder: trained(own.epochs, folder, 0.5))
    assert best.checkpoint.parent == tmp_path
    assert best.epoch_choices == ()
