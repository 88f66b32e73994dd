"""The generated images of a study: made of the photos of each set alone."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from flows.config.recipe import Recipe
from flows.execution.run_items import Execution
from flows.generate import Generation, generate_all
from flows.generators.catalog import find_generator
from models.data.records import Artifact, Sample, SourceImage, Sources
from tasks.engine.run_context import RunContext
from tasks.study.grid import Grid
from tasks.study.photo_sets import PhotoSets, all_photos


@dataclass
class StudyImages:
    """Per set of photos and generator its images, and the keys of the work items that made them."""

    made: dict[frozenset[str], dict[str, list[Sample]]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


def make_study_images(
    run: RunContext,
    recipe: Recipe,
    sources: Sources,
    sets: PhotoSets,
    backgrounds: Sequence[Artifact],
    execution: Execution,
    is_last_attempt: bool,
    grid: Grid,
) -> StudyImages:
    """Run the generators of a recipe on the photos of each set.

    A generator whose images are of one photo each runs once on all photos. Others, such as those
    that mix or learn from all photos of a class, run once per set: so no image of a set is made of
    other photos. If they learn from all train photos, all run once, and make images of the photos
    of those sets that get images.

    Raises:
        As `flows.generate.generate_all`.
    """
    images = StudyImages()
    learn_from_all = grid.learn_from == "all"

    def make(
        names: set[str], photos: Sequence[SourceImage], images_of: Set[str] | None = None
    ) -> dict[str, list[Sample]]:
        wanted = {name: found for name, found in recipe.generators.items() if name in names}
        if not wanted:
            return {}
        own = recipe.model_copy(update={"generators": wanted})
        found: Generation = generate_all(
            run,
            own,
            sources,
            photos,
            backgrounds,
            execution,
            is_last_attempt,
            images_of=images_of,
        )
        images.keys += [result.key for result in found.all if result.failure is None]
        return found.load_samples(run.store)

    alone = {
        name for name in recipe.generators if learn_from_all or find_generator(name).is_per_photo
    }
    if learn_from_all:
        wanted = _photos_with_images(sources, sets, grid)
        # Nothing has to be learned where no photo gets images.
        shared = make(alone if wanted else set(), sources.of("train"), wanted)
    else:
        shared = make(alone, all_photos(sets))
    for drawn in sets.values():
        for found in drawn:
            if found.names not in images.made:
                photos = sorted(found.photos, key=lambda photo: photo.name)
                own = make(recipe.generators.keys() - alone, photos)
                # In the order of the recipe, which names the methods of a study without any.
                images.made[found.names] = {
                    name: {**shared, **own}.get(name, []) for name in recipe.generators
                }
    return images


def _photos_with_images(sources: Sources, sets: PhotoSets, grid: Grid) -> set[str]:
    """The photos of sets that get images: a set of all photos has all instances already."""
    every = {photo.name for photo in sources.of("train")}
    drawn = {found.names for several in sets.values() for found in several}
    return {name for names in drawn if grid.fill == "none" or names != every for name in names}
