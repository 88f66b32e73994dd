"""Train: the same network on each dataset, once per seed (the study: EfficientNet-B3)."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.data.records import Artifact
from models.training.settings import TrainingParameters
from tasks.engine.fetch_images import fetch_images
from tasks.engine.run_context import RunContext
from tasks.engine.stage import Job, StageInput, StageOutput, always, stage

# torch and Lightning take 3 s to import; a run with nothing to train does without.
if TYPE_CHECKING:
    from models.training.classification.data import ImageSet
    from models.training.classification.module import EpochRecord

# Where a training logs, and how many helpers it has, changes nothing in what is learnt.
FREE = {"seeds", "loggers", "memory_mb", "workers"}


def learning(parameters: TrainingParameters) -> dict[str, Any]:
    """The settings that decide what is learnt; a weights file counts by its bytes, not its path."""
    settings = parameters.model_dump(mode="json", exclude=FREE)
    if parameters.weights_file is not None:
        blob = Path(parameters.weights_file).read_bytes()
        settings["weights_file"] = hashlib.sha256(blob).hexdigest()
    return settings


def require_trainable(parameters: TrainingParameters, *, here: bool = True) -> None:
    """Find out before anything is generated what would make a training impossible.

    What another machine has, such as weights, a GPU, a logger, is not asked if it trains not here.

    Raises:
        WeightsMissing: published weights were asked for and can't be had.
        ValueError: the network, the weights file, a logger or the precision can't be had.
    """
    from models.training.classification.networks import check_network
    from models.training.classification.train import check_ready

    if here:
        check_ready(parameters)
    else:
        check_network(parameters.network)


def same_budget(parameters: TrainingParameters, datasets: Sequence[Artifact]) -> TrainingParameters:
    """The parameters with the steps of one pass over the largest dataset, for all of them alike."""
    if parameters.steps_per_epoch is not None:
        return parameters
    largest = max(int(one.metadata["train"]) for one in datasets)
    return parameters.model_copy(update={"steps_per_epoch": -(-largest // parameters.batch_size)})


def once_per_seed(parameters: TrainingParameters, datasets: Sequence[Artifact]) -> list[Job]:
    """Per dataset, a training per seed."""
    return [
        Job(
            (one,),
            {"arm": one.variant["arm"], "seed": seed},
            name=f"{one.variant['arm']} · seed {seed}",
        )
        for one in datasets
        for seed in parameters.seeds
    ]


# The GPU is held for a whole training: between its epochs a second one would find no room.
@stage(
    "train",
    version=1,
    media="ckpt",
    plan=once_per_seed,
    batch_size=1,
    key_params=learning,
    uses_gpu=always,
)
def train(inputs: Sequence[StageInput], parameters: TrainingParameters) -> Iterator[StageOutput]:
    """Checkpoints, best on val; ``facts`` hold the history. A training that was killed goes on."""
    from models.runtime.network_pool import clear_device
    from models.training.classification.train import train_once

    clear_device()
    for item in inputs:
        arm, seed = str(item.job.variant["arm"]), int(item.job.variant["seed"])
        content = item.load()
        classes = content["classes"]
        trained = train_once(
            labelled(item.run, content["train"], classes),
            labelled(item.run, content["val"], classes),
            classes,
            parameters,
            seed,
            item.run.scratch / "training" / arm / f"seed-{seed}-{item.key[:8]}",
            progress=_teller(item),
        )
        metadata = trained.model_dump(mode="json", exclude={"checkpoint"})
        yield StageOutput(trained.checkpoint.read_bytes(), metadata=metadata)


def _teller(item: StageInput) -> "Callable[[EpochRecord], None]":
    return lambda epoch: item.run.tell(f"{item.job.name} · epoch {epoch.epoch + 1}")


def labelled(run: RunContext, rows: Sequence[Sequence[str]], classes: Sequence[str]) -> "ImageSet":
    """The files of a dataset document's rows with their class indices."""
    files = fetch_images(run, [image for image, _ in rows])
    return [(file, classes.index(label)) for file, (_, label) in zip(files, rows, strict=True)]
