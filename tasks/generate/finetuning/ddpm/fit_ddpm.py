"""Fitting: a diffusion model learns the objects of a class (Moon et al., NeurIPS workshop 2022)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.pixels import rgb
from models.data.records import Artifact
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.finetuning.ddpm.pretrain_ddpm import MS_PER_MP
from tasks.generate.finetuning.scratch import folder_of
from tasks.settings.ddpm import FitDdpmOn

if TYPE_CHECKING:
    from models.diffusion.ddpm.fit.crops import Crops
    from models.diffusion.ddpm.unet import Unet

STAGE = "fit_ddpm"
# Trillion operations of the published network per megapixel, forward.
_TFLOP_PER_MP = 34.2
# Megabytes of its attention blocks and adapters, and of all its weights, in float32.
_MEGABYTES = {False: 235.0, True: 2211.0}


def one_network(
    parameters: FitDdpmOn, base: Sequence[Artifact], squares: Sequence[Artifact], label: str
) -> list[Job]:
    """One job for a class: its base, if that is no checkpoint, and its squares.

    Squares of small objects come first, and all are ordered by their bytes, so that names don't
    matter. A class whose squares were all left out is refused.
    """
    if not squares:
        raise ValueError(
            f"class {label!r}: no object of it can be learned from; give photos with boxes, or a "
            "lower squares.min_side"
        )
    ordered = sorted(squares, key=lambda square: (not _is_small(parameters, square), square.digest))
    small = sum(_is_small(parameters, square) for square in squares)
    variant: dict[str, int | str] = {"label": label, "squares": len(squares), "small": small}
    return [Job((*base, *ordered), variant, f"{label}/{STAGE}")]


def _is_small(parameters: FitDdpmOn, square: Artifact) -> bool:
    """Whether the object of a square is small; a plan knows no boxes."""
    box = square.metadata.get("box")
    if box is None or parameters.repeat_small == 1:
        return False
    return float(box[2] + box[3]) / 2 < parameters.small_side * parameters.size


def _megabytes(parameters: FitDdpmOn) -> float:
    if parameters.checkpoint is None:
        return 6.0
    return _MEGABYTES[parameters.bottleneck is None]


@stage(
    STAGE,
    version=1,
    media="safetensors",
    plan=one_network,
    batch_size=1,
    uses_gpu=True,
    cost=Cost(
        megapixels=lambda parameters, _: (
            parameters.steps * parameters.batch * parameters.size**2 / 1e6
        ),
        ms_per_mp=MS_PER_MP,
        megabytes=_megabytes,
        # Forward and backward.
        tflop={"adm-256": (0, 3 * _TFLOP_PER_MP)},
    ),
)
def fit_ddpm(inputs: Sequence[StageInput], parameters: FitDdpmOn) -> Iterator[StageOutput]:
    """The file of the trained weights, which `load_adaptation` and `Ddpm.load` read.

    Metadata: ``weights``, their kind; ``losses``, of each step; ``evaluations``, the scores of the
    sample sheets. A training that was killed continues in the run's scratch folder.
    """
    from models.runtime.network_pool import device_alone

    for item in inputs:
        with device_alone():
            file, metadata = _fit(item, parameters)
        yield StageOutput(file, metadata={"weights": "adaptation", **metadata})


def _fit(item: StageInput, parameters: FitDdpmOn) -> tuple[Path, dict[str, Any]]:
    from models.diffusion.ddpm.adapters.network import Adaptation
    from models.diffusion.ddpm.fit.train import fit_unet
    from models.embedding.backbone import embed
    from tasks.generate.finetuning.ddpm.networks import fit_settings
    from tasks.generate.finetuning.ddpm.progress import FitProgress, as_metadata

    folder, crops = folder_of(item, STAGE), _crops(item, parameters)
    adaptation = Adaptation(
        trains="all" if parameters.bottleneck is None else "attention",
        bottleneck=parameters.bottleneck,
        condition_channels=crops.picture_channels,
    )
    progress = FitProgress(item, STAGE, parameters.steps, parameters.save_every, folder)
    fitted = fit_unet(
        _base(item, parameters),
        crops,
        adaptation,
        fit_settings(parameters),
        embed,
        seed=item.seed >> 1,
        folder=folder,
        progress=progress.evaluated,
        on_step=progress.step,
    )
    return fitted.file, as_metadata(fitted.losses, fitted.evaluations)


def _base(item: StageInput, parameters: FitDdpmOn) -> "Unet":
    from models.checkpoints.local import locate
    from tasks.generate.finetuning.ddpm.networks import load_base

    if parameters.checkpoint is not None:
        return load_base(locate(parameters.checkpoint))
    return load_base(item.run.fetch(item.job.inputs[0]))


def _crops(item: StageInput, parameters: FitDdpmOn) -> "Crops":
    from models.diffusion.ddpm.fit.crops import Crops

    count, small = int(item.job.variant["squares"]), int(item.job.variant["small"])
    total = len(item.job.inputs)
    squares = [item.load(position) for position in range(total - count, total)]
    maps = []
    if parameters.condition == "masks":
        without = sum(square.shape[2] == 3 for square in squares)
        if without:
            raise ValueError(
                f"fit.condition: masks, but {without} of {count} objects of class "
                f"{item.job.variant['label']!r} have none; give masks, or choose edges"
            )
        maps = [np.ascontiguousarray(square[..., 3:]) for square in squares]
    return Crops(
        [rgb(square) for square in squares],
        maps=maps,
        edges=parameters.condition == "edges",
        repeats=[parameters.repeat_small] * small + [1] * (count - small),
        turns=parameters.turns,
    )
