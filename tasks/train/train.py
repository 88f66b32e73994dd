"""The stage ``train``: a classifier on a dataset, once per seed."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.data.records import Artifact
from models.training.epoch_choices import train_choices
from models.training.history import TrainedModel
from models.training.settings import TrainingParameters
from models.training.task import TrainingSets, task_of
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage
from tasks.train.read_images import labelled_images, object_truth


def training_key_params(parameters: TrainingParameters) -> dict[str, Any]:
    """The settings that decide the weights; a weights file counts by its bytes, not its path."""
    settings = parameters.key_params()
    if parameters.weights_file is not None:
        blob = Path(parameters.weights_file).read_bytes()
        settings["weights_file"] = hashlib.sha256(blob).hexdigest()
    return settings


def once_per_seed(
    parameters: TrainingParameters,
    training: str,
    datasets: Sequence[Artifact],
    truths: Sequence[Artifact] = (),
) -> list[Job]:
    """One job per dataset and seed; results and files carry the name of the training.

    ``truths`` has the ground truth document of each dataset, for tasks that need masks or boxes.
    """
    inputs = zip(datasets, truths, strict=True) if truths else ((found,) for found in datasets)
    return [
        Job(found, {"dataset": training, "seed": seed}, name=f"{training} · seed {seed}")
        for found in inputs
        for seed in parameters.seeds
    ]


# The GPU lock is held for a whole training: its memory stays allocated between epochs.
@stage(
    "train",
    version=2,
    media="ckpt",
    plan=once_per_seed,
    batch_size=1,
    key_params=training_key_params,
    uses_gpu=True,
)
def train(inputs: Sequence[StageInput], parameters: TrainingParameters) -> Iterator[StageOutput]:
    """Checkpoints of the best epoch on val; the metadata holds the history.

    A training that was killed continues in the run's scratch folder.
    """
    from models.runtime.network_pool import clear_device

    clear_device()
    for item in inputs:
        trained = _train(item, parameters)
        metadata = trained.model_dump(mode="json", exclude={"checkpoint"})
        yield StageOutput(trained.checkpoint.read_bytes(), metadata=metadata)


def _train(item: StageInput, parameters: TrainingParameters) -> TrainedModel:
    name, seed = str(item.job.variant["dataset"]), int(item.job.variant["seed"])
    content = item.load()
    classes = content["classes"]
    images, val = (labelled_images(item.run, content[part], classes) for part in ("train", "val"))
    truth = object_truth(item, 1, [*content["train"], *content["val"]], classes)
    groups = _real_and_synthetic(content) if parameters.balanced else ()
    sets = TrainingSets(images, val, classes, groups, truth)
    train_model = task_of(parameters).trainer(parameters)

    def train_in(own: TrainingParameters, folder: Path) -> TrainedModel:
        return train_model(sets, own, seed, folder, progress=_report_epochs(item))

    folder = item.run.scratch / "training" / name / f"seed-{seed}-{item.key[:8]}"
    return train_choices(parameters, folder, train_in)


def _real_and_synthetic(content: Mapping[str, Any]) -> list[int]:
    """The group of each train image: 0 real, 1 synthetic."""
    return [int(generator != "") for generator in content["generators"]]


def _report_epochs(item: StageInput) -> Callable[[int], None]:
    return lambda epoch: item.run.on_step(f"{item.job.name} · epoch {epoch + 1}")
