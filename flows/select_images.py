"""Selection by meaning: images that are not enough like the photos of their class are rejected."""

from collections.abc import Mapping, Sequence

from flows.config.recipe import Recipe
from flows.generate import Generation
from models.data.records import Annotation, Artifact, Sample, SourceImage, Sources
from tasks.assemble.resize import resize
from tasks.embed.embed import Embed, embed
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.screen.select import Select, select

# Stands for the JPEG of an image in a plan.
EXAMPLE = Artifact(
    key="example", stage="resize", version=1, name="", media="jpg", digest="example", size=0
)


def select_images(
    run: RunContext, recipe: Recipe, sources: Sources, generation: Generation
) -> Generation:
    """The same results, with the documents of what is selected of each generator.

    Images are compared with the references and the val photos, so that no other train photo has a
    part in a dataset of few photos. An image of several classes takes no part. Without the section
    ``select``, nothing is done.

    Raises:
        EmbeddedWeightsError: the package with the network's weights is missing or changed.
    """
    if recipe.select is None:
        return generation
    # A context of its own: the run counts `resize` where the datasets are built.
    own = RunContext(run.store, "select")
    references = {name for result in generation.all for name in result.sources}
    used = [photo for photo in sources.of("train") if photo.name in references]
    photos = photo_samples(own, recipe, [*used, *sources.of("val")])
    documents = []
    for samples in generation.load_samples(run.store).values():
        made = [sample for sample in samples if sample.is_accepted and _has_one_class(sample)]
        compared = [*photos, *made]
        embedded = embed(own, Embed(), [sample.image for sample in compared])
        documents += select(own, recipe.select, compared, embedded)
    run.add_counts("select", {name: own.counts[name] for name in ("embed", "select")})
    return generation.with_selections(run.store, documents)


def photo_samples(run: RunContext, recipe: Recipe, photos: Sequence[SourceImage]) -> list[Sample]:
    """Real photos at the size that datasets hold, each with its class alone."""
    jpegs = resize(run, recipe.resize, [photo.image for photo in photos])
    return [
        Sample(
            name=photo.name,
            split=photo.split,
            image=jpeg,
            annotations=(Annotation(label=photo.label),),
            sources=(photo.name,),
        )
        for photo, jpeg in zip(photos, jpegs, strict=True)
    ]


def _has_one_class(sample: Sample) -> bool:
    return len({annotation.label for annotation in sample.annotations}) == 1


def plan_selection(
    settings: Select, photos: Mapping[str, int], images: Mapping[str, int]
) -> PlanningRun:
    """Plan the stages of `select_images`, as if every image were accepted.

    Args:
        settings: the section of the recipe.
        photos: photos per class, of all splits.
        images: images per generator.
    """
    each, total = PlanningRun(), PlanningRun()
    embed(each, Embed(), [EXAMPLE])
    total.add(each, sum(photos.values()) + sum(images.values()))
    for _ in images:
        select(total, settings, [], [])
    return total
