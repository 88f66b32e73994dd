"""Trainings of several lengths, each with its own schedule, of which val chooses one."""

from collections.abc import Callable
from pathlib import Path

from models.training.history import EpochChoice, TrainedModel
from models.training.settings import TrainingParameters


def train_choices(
    parameters: TrainingParameters,
    folder: Path,
    train_in: Callable[[TrainingParameters, Path], TrainedModel],
) -> TrainedModel:
    """Train once for each of ``epoch_choices``, and return the training that is best on val.

    Ties go to the lower loss on val, then to the number that is listed first. Without choices,
    and for a linear classifier, there is one training. Each has a folder of its own, so that a
    killed training continues where it was.

    Args:
        train_in: trains with settings that have one number of epochs, in a folder.
    """
    counts = parameters.epoch_choices
    if not counts or parameters.classifier == "linear":
        return train_in(parameters, folder)
    trained = [
        train_in(
            parameters.model_copy(update={"epochs": count, "epoch_choices": ()}),
            folder / f"epochs-{count}",
        )
        for count in counts
    ]
    chosen = max(trained, key=lambda model: (model.best.val_score, -model.best.val_loss))
    choices = tuple(
        EpochChoice(
            epochs=count,
            best_epoch=model.best_epoch,
            val_score=model.best.val_score,
            val_loss=model.best.val_loss,
            chosen=model is chosen,
        )
        for count, model in zip(counts, trained, strict=True)
    )
    seconds = round(sum(model.seconds for model in trained), 3)
    return chosen.model_copy(update={"epoch_choices": choices, "seconds": seconds})
