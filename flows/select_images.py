"""Selection by meaning: images that are not enough like the photos of their class are rejected."""

from collections.abc import Mapping, Sequence

from flows.config.recipe import Recipe
from flows.generate import Generation
from models.data.records import Annotation, Artifact, Sample, SourceImage, Sources
from tasks.assemble.resize import resize
from tasks.embed.embed import EmbedClip, embed, embed_text, name_class
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
        CheckpointMissingError: the weights of CLIP are not on this machine.
    """
    settings = recipe.select
    if settings is None:
        return generation
    # A context of its own: the run counts `resize` where the datasets are built.
    own = RunContext(run.store, "select", on_batch=run.on_batch)
    references = {name for result in generation.all for name in result.sources}
    used = [photo for photo in sources.of("train") if photo.name in references]
    photos = photo_samples(own, recipe, [*used, *sources.of("val")])
    names = _embed_names(own, settings, sources.classes)
    documents = []
    for samples in generation.load_samples(run.store).values():
        made = [sample for sample in samples if sample.is_accepted and _has_one_class(sample)]
        embedded = embed(own, settings.features, [one.image for one in (*photos, *made)])
        # An image without features, which a network can't give, takes no part.
        features = {artifact.parents[0]: artifact for artifact in embedded}
        compared = [one for one in (*photos, *made) if one.image.id in features]
        rows = [features[one.image.id] for one in compared]
        documents += select(own, settings, compared, rows, names)
    counts = {name: count for name, count in own.counts.items() if name != "resize"}
    run.add_counts("select", counts)
    return generation.with_selections(run.store, documents)


def _embed_names(
    run: RunContext | PlanningRun, settings: Select, classes: Sequence[str]
) -> dict[str, Artifact]:
    """Per class the features of its name, if the selection compares images with names."""
    network = settings.features
    if not isinstance(network, EmbedClip) or not network.class_names:
        return {}
    sentences = [name_class(network, label) for label in classes]
    embedded = embed_text(run, network, list(dict.fromkeys(sentences)))
    features = {artifact.name: artifact for artifact in embedded}
    pairs = zip(classes, sentences, strict=True)
    return {label: features[text] for label, text in pairs if text in features}


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
    embed(each, settings.features, [EXAMPLE])
    total.add(each, sum(photos.values()) + sum(images.values()))
    _embed_names(total, settings, list(photos))
    for _ in images:
        select(total, settings, [], [], {})
    return total
