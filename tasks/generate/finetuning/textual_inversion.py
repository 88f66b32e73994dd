"""Textual Inversion: a word for a class, learned from its photos (Gal et al., ICLR 2023)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from models.captioning.template import class_words
from models.data.pixels import rgb
from models.data.records import SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.finetuning.scratch import SHARE_OF_GPU, folder_of
from tasks.settings.finetuning import LearnWordOn

if TYPE_CHECKING:
    from models.diffusion.finetuning.textual_inversion import LearnedWord

STAGE = "textual_inversion"


def one_word(parameters: LearnWordOn, photos: Sequence[SourceImage], label: str) -> list[Job]:
    """One job for a class. Its photos are ordered by their bytes, so that names don't matter."""
    if not photos:
        raise ValueError(f"class {label!r}: it has no photo to learn from; give 3 to 5")
    images = sorted((photo.image for photo in photos), key=lambda image: image.digest)
    initializer = parameters.initializers.get(label, class_words(label).split()[-1])
    return [Job(tuple(images), {"label": label, "initializer": initializer}, f"{label}/{STAGE}")]


@stage(
    STAGE,
    version=1,
    media="safetensors",
    plan=one_word,
    batch_size=1,
    cost=Cost(
        megapixels=lambda parameters, _: parameters.size**2 / 1e6,
        megabytes=lambda _: 0.01,
        # Forward, and backward to the word.
        tflop={"sd15": (0, 2 * 3.1), "sdxl": (0, 2 * 6.3)},
        repeats=lambda parameters: parameters.steps * parameters.accumulation / SHARE_OF_GPU,
    ),
)
def textual_inversion(
    inputs: Sequence[StageInput], parameters: LearnWordOn
) -> Iterator[StageOutput]:
    """The file of the embedding, which ``load_textual_inversion`` of diffusers reads.

    Metadata: ``weights``, their kind; ``word``; ``losses``, of each step. A training that was
    killed continues in the run's scratch folder.
    """
    from models.runtime.network_pool import device_alone

    for item in inputs:
        with device_alone():
            learned = _learn(item, parameters)
        losses = [round(loss, 6) for loss in learned.losses]
        metadata = {"weights": "word", "word": parameters.placeholder, "losses": losses}
        yield StageOutput(learned.file, metadata=metadata)


def _learn(item: StageInput, parameters: LearnWordOn) -> "LearnedWord":
    from models.diffusion.finetuning.textual_inversion import learn_word
    from tasks.generate.finetuning.networks import load_networks, schedule_of
    from tasks.generate.finetuning.progress import show_progress

    folder, word = folder_of(item, STAGE), parameters.placeholder
    return learn_word(
        load_networks(parameters.checkpoints),
        [rgb(item.load(position)) for position in range(len(item.job.inputs))],
        placeholder=word,
        initializer=str(item.job.variant["initializer"]),
        size=parameters.size,
        schedule=schedule_of(parameters),
        seed=item.seed,
        folder=folder,
        progress=show_progress(item, STAGE, parameters, f"a photo of a {word}", folder),
    )
