"""DreamBooth: a U-Net or a LoRA for a class, from its photos (Ruiz et al., CVPR 2023)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from models.captioning.template import class_words, with_class
from models.data.pixels import rgb
from models.data.records import Artifact, SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.finetuning.scratch import SHARE_OF_GPU, folder_of
from tasks.settings.finetuning import TuneUnetOn

if TYPE_CHECKING:
    from models.diffusion.finetuning.dreambooth import TunedUnet

STAGE = "dreambooth"
# Megabytes of all weights in float16, and of a LoRA per rank in float32.
_MEGABYTES = {"sd15": (1719, 0.8), "sdxl": (5135, 5.8)}


def one_network(
    parameters: TuneUnetOn, photos: Sequence[SourceImage], priors: Sequence[Artifact], label: str
) -> list[Job]:
    """One job for a class: its photos, ordered by their bytes, then the prior images."""
    if not photos:
        raise ValueError(f"class {label!r}: it has no photo to learn from; give 3 to 5")
    if parameters.prior_images and not priors:
        raise ValueError(
            f"class {label!r}: no prior image is left, because all were flagged as not safe for "
            "work; give another prior_prompt, or text_to_image.safety_checker: null"
        )
    images = sorted((photo.image for photo in photos), key=lambda image: image.digest)
    name = class_words(label)
    variant: dict[str, int | str] = {
        "label": label,
        "photos": len(images),
        "prompt": with_class(parameters.prompt.replace("{word}", parameters.word), name),
        "prior_prompt": with_class(parameters.prior_prompt, name),
    }
    return [Job((*images, *priors), variant, f"{label}/{STAGE}")]


def _megabytes(parameters: TuneUnetOn) -> float:
    whole, per_rank = _MEGABYTES[parameters.model]
    return whole if parameters.lora_rank is None else per_rank * parameters.lora_rank


@stage(
    STAGE,
    version=1,
    media="safetensors",
    plan=one_network,
    batch_size=1,
    cost=Cost(
        megapixels=lambda parameters, _: parameters.size**2 / 1e6,
        megabytes=_megabytes,
        # Forward and backward.
        tflop={"sd15": (0, 3 * 3.1), "sdxl": (0, 3 * 6.3)},
        repeats=lambda parameters: (
            parameters.steps
            * parameters.accumulation
            * (2 if parameters.prior_images else 1)
            / SHARE_OF_GPU
        ),
    ),
)
def dreambooth(inputs: Sequence[StageInput], parameters: TuneUnetOn) -> Iterator[StageOutput]:
    """The file of the U-Net's weights, or of a LoRA for ``load_lora_weights`` of diffusers.

    Metadata: ``weights``, their kind; ``losses``, of each step. A training that was killed
    continues in the run's scratch folder.
    """
    from models.runtime.network_pool import device_alone

    for item in inputs:
        with device_alone():
            tuned = _tune(item, parameters)
        losses = [round(loss, 6) for loss in tuned.losses]
        kind = "unet" if parameters.lora_rank is None else "lora"
        yield StageOutput(tuned.file, metadata={"weights": kind, "losses": losses})


def _tune(item: StageInput, parameters: TuneUnetOn) -> "TunedUnet":
    from models.diffusion.finetuning.dreambooth import Subject, tune_unet
    from tasks.generate.finetuning.networks import load_networks, schedule_of
    from tasks.generate.finetuning.progress import show_progress

    folder, variant = folder_of(item, STAGE), item.job.variant
    images = [rgb(item.load(position)) for position in range(len(item.job.inputs))]
    count = int(variant["photos"])
    subject = Subject(
        photos=images[:count],
        prompt=str(variant["prompt"]),
        prior_images=images[count:],
        prior_prompt=str(variant["prior_prompt"]),
        prior_weight=parameters.prior_weight,
    )
    return tune_unet(
        load_networks(parameters.checkpoints),
        subject,
        rank=parameters.lora_rank,
        size=parameters.size,
        schedule=schedule_of(parameters),
        seed=item.seed,
        folder=folder,
        progress=show_progress(item, STAGE, parameters, subject.prompt, folder),
    )
