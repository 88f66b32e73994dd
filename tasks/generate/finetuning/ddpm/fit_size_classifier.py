"""A classifier of noisy squares that tells how large their objects are; it guides the painting."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.data.pixels import rgb
from models.data.records import Artifact
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.finetuning.scratch import folder_of
from tasks.settings.ddpm import FitSizeClassifierOn

STAGE = "fit_size_classifier"
# CPU milliseconds per step and megapixel of its squares.
_MS_PER_MP = 7_000.0


def one_classifier(
    parameters: FitSizeClassifierOn, squares: Sequence[Artifact], label: str
) -> list[Job]:
    """One job for a class: its squares, ordered by size class and bytes; without one no job.

    The variant has the number of squares per size class.
    """
    from models.diffusion.ddpm.control.sizes import size_class

    def class_of(square: Artifact) -> int:
        # A plan knows no boxes.
        _, _, width, height = square.metadata.get("box", (0, 0, 0, 0))
        side = parameters.size
        return size_class(min(height, side), min(width, side), side)

    if not squares:
        return []
    ordered = sorted(squares, key=lambda square: (class_of(square), square.digest))
    counts = Counter(map(class_of, squares))
    variant: dict[str, int | str] = {"label": label, "sizes": json.dumps(sorted(counts.items()))}
    return [Job(tuple(ordered), variant, f"{label}/{STAGE}")]


@stage(
    STAGE,
    version=1,
    media="safetensors",
    plan=one_classifier,
    batch_size=1,
    uses_gpu=True,
    cost=Cost(
        megapixels=lambda parameters, _: (
            parameters.steps * parameters.batch * parameters.size**2 / 1e6
        ),
        ms_per_mp=_MS_PER_MP,
        megabytes=lambda parameters: 8.0 * (parameters.channels / 32) ** 2,
    ),
)
def fit_size_classifier(
    inputs: Sequence[StageInput], parameters: FitSizeClassifierOn
) -> Iterator[StageOutput]:
    """The file of the classifier's weights, which `Ddpm.load` reads.

    Metadata: ``weights``, their kind; ``losses``, of each step; ``sizes``, the squares of each size
    class. A training that was killed continues in the run's scratch folder.
    """
    from models.runtime.network_pool import device_alone

    for item in inputs:
        with device_alone():
            file, metadata = _fit(item, parameters)
        yield StageOutput(file, metadata={"weights": "size_classifier", **metadata})


def _fit(item: StageInput, parameters: FitSizeClassifierOn) -> tuple[Path, dict[str, Any]]:
    from models.diffusion.ddpm.control.sizes import train_classifier
    from models.diffusion.ddpm.fit.crops import Crops
    from models.diffusion.ddpm.generator import CLASSIFIER
    from models.diffusion.ddpm.weights_file import save_weights
    from models.diffusion.finetuning.loop import Schedule
    from tasks.generate.finetuning.ddpm.networks import new_classifier
    from tasks.generate.finetuning.ddpm.progress import FitProgress, as_metadata

    folder = folder_of(item, STAGE)
    network = new_classifier(parameters, item.seed)
    sizes: list[list[int]] = json.loads(str(item.job.variant["sizes"]))
    squares = [rgb(item.load(position)) for position in range(len(item.job.inputs))]
    progress = FitProgress(item, STAGE, parameters.steps, parameters.save_every, folder)
    losses = train_classifier(
        network,
        Crops(squares),
        [size for size, count in sizes for _ in range(count)],
        Schedule(
            steps=parameters.steps,
            learning_rate=parameters.learning_rate,
            save_every=parameters.save_every,
        ),
        batch=parameters.batch,
        seed=item.seed >> 1,
        folder=folder,
        on_step=progress.step,
    )
    file = folder / CLASSIFIER
    save_weights(network.config, network.state_dict(), file)
    return file, as_metadata(losses) | {"sizes": sizes}
