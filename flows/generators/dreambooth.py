"""Images of a network that was tuned to the photos of each class: the subject-driven study."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from flows.generators.learned_images import draw_class
from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.finetuning.dreambooth import dreambooth
from tasks.generate.finetuning.scratch import remove_states
from tasks.generate.text_to_image import text_to_image
from tasks.settings.finetuning import (
    SubjectImages,
    SubjectSd15,
    TuneUnet,
    prior_images_of,
    tune_unet_for,
)
from tasks.settings.segment import Segment


class Settings(Record):
    """A network for each class, tuned to its photos, and new images of it."""

    training: TuneUnet = Field(TuneUnet(), description="How the network is tuned.")
    text_to_image: SubjectImages = Field(
        SubjectSd15(), description="The images, and the network that is tuned."
    )
    segment: Segment | None = Field(
        None,
        description="Find the object's mask in each image, and reject images without an object; "
        "none: images have a label alone.",
    )


def tune_networks(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """The weights of a class; images of the class by the untuned network come first."""
    label, priors = item.label, list[Artifact]()
    if settings.training.prior_images:
        drawing = prior_images_of(settings.text_to_image, settings.training)
        priors = text_to_image(run, drawing, label, ())
    training = tune_unet_for(settings.text_to_image, settings.training)
    weights = dreambooth(run, training, item.sources, priors, label)
    remove_states(run, weights)
    return weights


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one class."""
    drawing = settings.text_to_image.with_word(settings.training.word)
    return draw_class(run, drawing, settings.segment, item)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per class."""
    amount = settings.text_to_image.n_images
    return (Factor(amount=amount, name="n", note="images of the tuned network"),)


GENERATOR = Generator(
    "dreambooth",
    Settings,
    (Phase("tune", "class", tune_networks), Phase("images", "class", make_images)),
    factors,
)
