"""Images of a word that was learned from the photos of each class: the subject-driven study."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from flows.generators.learned_images import draw_class
from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.finetuning.scratch import remove_states
from tasks.generate.finetuning.textual_inversion import textual_inversion
from tasks.settings.finetuning import LearnWord, SubjectImages, SubjectSd15, learn_word_for
from tasks.settings.segment import Segment


class Settings(Record):
    """A word for each class, learned from its photos, and new images of it."""

    training: LearnWord = Field(LearnWord(), description="How the word is learned.")
    text_to_image: SubjectImages = Field(
        SubjectSd15(templates=("a photo of a {word}",)),
        description="The images, and the network that learns the word.",
    )
    segment: Segment | None = Field(
        None,
        description="Find the object's mask in each image, and reject images without an object; "
        "none: images have a label alone.",
    )


def learn_words(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """The embedding of a class."""
    training = learn_word_for(settings.text_to_image, settings.training)
    weights = textual_inversion(run, training, item.sources, item.label)
    remove_states(run, weights)
    return weights


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one class."""
    drawing = settings.text_to_image.with_word(settings.training.placeholder)
    return draw_class(run, drawing, settings.segment, item)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per class."""
    amount = settings.text_to_image.n_images
    return (Factor(amount=amount, name="n", note="images of the learned word"),)


GENERATOR = Generator(
    "textual_inversion",
    Settings,
    (Phase("learn", "class", learn_words), Phase("images", "class", make_images)),
    factors,
)
