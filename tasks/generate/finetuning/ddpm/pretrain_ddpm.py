"""Pretraining: a small diffusion model, trained on random squares of photos and backgrounds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.data.pixels import Pixels
from models.data.records import Artifact, SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.finetuning.scratch import folder_of
from tasks.settings.ddpm import BaseFromScratch

if TYPE_CHECKING:
    from models.diffusion.ddpm.unet import Unet

STAGE = "pretrain_ddpm"
WEIGHTS = "base.safetensors"
# CPU milliseconds per step and megapixel of its squares, of a network with 32 channels.
MS_PER_MP = 18_000.0


def one_network(
    _parameters: BaseFromScratch, photos: Sequence[SourceImage], backgrounds: Sequence[Artifact]
) -> list[Job]:
    """One job. Images are ordered by their bytes, so that classes with equal photos share it."""
    images = {image.digest: image for image in (*(photo.image for photo in photos), *backgrounds)}
    if not images:
        raise ValueError("pretrain_ddpm: there are no photos to learn from; add some")
    inputs = tuple(images[digest] for digest in sorted(images))
    return [Job(inputs, {"images": len(inputs)}, f"base/{STAGE}")]


def training_megapixels(parameters: BaseFromScratch, _: float) -> float:
    """Megapixels that a training computes, as if the network had 32 channels."""
    width = float(parameters.channels / 32)
    return parameters.steps * parameters.batch * parameters.size**2 / 1e6 * float(width**1.6)


@stage(
    STAGE,
    version=1,
    media="safetensors",
    plan=one_network,
    batch_size=1,
    uses_gpu=True,
    cost=Cost(
        megapixels=training_megapixels,
        ms_per_mp=MS_PER_MP,
        megabytes=lambda parameters: 5.5 * (parameters.channels / 32) ** 2,
    ),
)
def pretrain_ddpm(
    inputs: Sequence[StageInput], parameters: BaseFromScratch
) -> Iterator[StageOutput]:
    """The file of a U-Net's weights, with its shape; `load_unet` reads it.

    Metadata: ``weights``, their kind; ``losses``, of each step; ``evaluations``, the scores of the
    sample sheets. A training that was killed continues in the run's scratch folder.
    """
    from models.runtime.network_pool import device_alone

    for item in inputs:
        with device_alone():
            file, metadata = _train(item, parameters)
        yield StageOutput(file, metadata={"weights": "base", **metadata})


def _train(item: StageInput, parameters: BaseFromScratch) -> tuple[Path, dict[str, Any]]:
    from models.diffusion.ddpm.adapters.network import Adaptation, load_adaptation
    from models.diffusion.ddpm.fit.crops import Crops
    from models.diffusion.ddpm.fit.train import fit_unet
    from models.diffusion.ddpm.weights_file import save_weights
    from models.embedding.backbone import embed
    from tasks.generate.finetuning.ddpm.networks import fit_settings, new_unet
    from tasks.generate.finetuning.ddpm.progress import FitProgress, as_metadata

    folder, crops = (
        folder_of(item, STAGE),
        Crops(_squares(item, parameters), turns=parameters.turns),
    )
    progress = FitProgress(item, STAGE, parameters.steps, parameters.save_every, folder)
    fitted = fit_unet(
        new_unet(parameters.shape, item.seed),
        crops,
        Adaptation(trains="all", bottleneck=None),
        fit_settings(parameters),
        embed,
        seed=item.seed >> 1,
        folder=folder,
        progress=progress.evaluated,
        on_step=progress.step,
    )
    trained: Unet = load_adaptation(new_unet(parameters.shape, item.seed), fitted.file).unet
    save_weights(parameters.shape, trained.state_dict(), folder / WEIGHTS)
    return folder / WEIGHTS, as_metadata(fitted.losses, fitted.evaluations)


def _squares(item: StageInput, parameters: BaseFromScratch) -> list[Pixels]:
    from models.diffusion.ddpm.fit.random_squares import random_squares

    count = len(item.job.inputs)
    rng, squares = item.rng(), []
    for number in range(count):
        # Each image gives as many squares as another, or one more.
        share = parameters.squares // count + (number < parameters.squares % count)
        if share:
            image = item.load(number)
            squares += random_squares(image, parameters.size, share, parameters.largest_share, rng)
    return squares
