"""What DreamBooth trains and draws, as a planned run shows it."""

from typing import Any

from flows.generators.dreambooth import Settings, make_images, tune_networks
from models.data.records import Annotation, Artifact, SourceImage
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.text_to_image import text_to_image
from tasks.settings.finetuning import SubjectSd15, SubjectSdxl, TuneUnet
from tasks.settings.text_to_image import TextToImageSd15


def item_of(*inputs: Artifact) -> WorkItem:
    image = Artifact(
        key="p", stage="ingest", version=1, name="mug/a", media="png", digest="d", size=1
    )
    notes = (Annotation(label="mug"),)
    photo = SourceImage(
        name="mug/a", file="mug/a.png", split="train", image=image, annotations=notes
    )
    return WorkItem(
        generator="dreambooth", phase="tune", name="mug", key="", sources=(photo,), inputs=inputs
    )


def tune(settings: Settings) -> tuple[PlanningRun, Artifact]:
    """A plan of the first phase, and the weights of the class."""
    run = PlanningRun()
    (weights,) = tune_networks(run, settings, item_of(), SharedInputs())
    return run, weights


def with_training(**fields: Any) -> Settings:
    return Settings(training=TuneUnet(**fields))


def test_prior_images_are_those_of_text_to_image_with_the_same_prompt() -> None:
    settings = with_training(prior_images=3)
    run, weights = tune(settings)
    assert {name: found.artifacts for name, found in run.stages.items()} == {
        "text_to_image": 3,
        "dreambooth": 1,
    }
    alone = TextToImageSd15(n_images=3, templates=("a photo of {label}",), negative_prompt="")
    images = text_to_image(PlanningRun(), alone, "mug", ())
    assert weights.parents == ("ingest/p", *(image.id for image in images))
    run, weights = tune(with_training(prior_images=0))
    assert list(run.stages) == ["dreambooth"]
    assert weights.parents == ("ingest/p",)


def test_only_what_the_training_uses_changes_the_weights() -> None:
    _, weights = tune(Settings())
    for same in (
        with_training(save_every=7, sample_every=None, samples=9),
        Settings(text_to_image=SubjectSd15(n_images=99, templates=("{word} in red",))),
    ):
        assert tune(same)[1].id == weights.id
    for other in (
        with_training(steps=9),
        with_training(lora_rank=4),
        with_training(word="zwx"),
        with_training(prior_prompt="one {label}"),
        Settings(text_to_image=SubjectSdxl()),
        Settings(text_to_image=SubjectSd15(checkpoint="owner/other@1")),
    ):
        assert tune(other)[1].id != weights.id


def test_images_are_drawn_with_the_weights_and_the_word() -> None:
    settings = Settings(
        training=TuneUnet(word="zwx"), text_to_image=SubjectSd15(n_images=2, width=64, height=64)
    )
    _, weights = tune(settings)
    run = PlanningRun()
    images = make_images(run, settings, item_of(weights), SharedInputs())
    assert [image.variant["prompt"] for image in images] == ["a photo of zwx mug"] * 2
    assert {image.parents for image in images} == {(weights.id,)}
    assert {image.name for image in images} == {"mug/dreambooth"}


def test_a_plan_knows_the_size_of_the_weights() -> None:
    whole, lora = (tune(with_training(lora_rank=rank))[0].stages for rank in (None, 4))
    assert whole["dreambooth"].megabytes == 1719
    assert lora["dreambooth"].megabytes < 4
    assert whole["dreambooth"].gpu_seconds > 10
