"""Where new objects would go, as pictures: before anything is painted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.config.checks.validate import check_paths
from flows.config.recipe import Recipe
from flows.execution.progress import stage_progress
from flows.generators.catalog import find_generator
from models.data.files import write_atomic
from models.data.records import Artifact, Record
from tasks.engine.run_context import RunContext
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.placement_picture import placement_picture
from tasks.generate.placing.real_objects import real_objects
from tasks.ingest.photos import ingest_photos
from tasks.ingest.references import choose_references
from tasks.ingest.regions import ingest_regions
from tasks.settings.placing import PlacementPicture, PlaceObjects
from tasks.store.store import STAGES_WAIT_S, open_store

FOLDER = "placements"


class ShownPlacements(Record):
    """The pictures that were written, and why some photos have none."""

    folder: str
    pictures: tuple[str, ...]
    without: dict[str, str] = {}

    def text(self) -> str:
        """What was written, for a person."""
        lines = [f"{len(self.pictures)} pictures in {self.folder}"]
        return "\n".join([*lines, *(f"{name}: {why}" for name, why in self.without.items())])


def show_placements(
    recipe: Recipe, photos: Path, out: Path, store: str, scenes: int
) -> ShownPlacements:
    """Place the objects of all generators of a recipe that paint into photos, and draw the places.

    A run with the same store uses the same placements.

    Args:
        out: pictures are written to its folder ``placements``.
        scenes: photos that are drawn per generator and class, at even distances.

    Raises:
        ValueError: no generator places objects; or photos, folders or regions can't be used.
        StoreAccessError: the store can't be reached, read or written.
    """
    settings_of = _settings_of(recipe)
    check_paths(photos, out, store, recipe, None)
    with stage_progress() as on_batch:
        opened = open_store(store, wait_s=STAGES_WAIT_S)
        run = RunContext(opened, recipe.name, on_batch=on_batch)
        return _show(run, recipe, photos, out, scenes, settings_of)


def _show(
    run: RunContext,
    recipe: Recipe,
    photos: Path,
    out: Path,
    scenes: int,
    settings_of: Mapping[str, tuple[PlaceObjects, tuple[str, ...]]],
) -> ShownPlacements:
    sources = ingest_photos(run, photos, recipe.ingest, recipe.split)
    references = choose_references(
        sources.of("train"), recipe.references_per_class, None, recipe.split.seed
    )
    boxed = {note.label for photo in references for note in photo.annotations if note.box}
    regions = ingest_regions(run, recipe.regions)
    written: list[str] = []
    for name, (placing, classes) in settings_of.items():
        usable = [
            photo
            for photo in references
            if placing.is_scene({note.label for note in photo.annotations})
        ]
        count = min(scenes, len(usable))
        shown = [usable[at * len(usable) // count] for at in range(count)]
        for label in classes or sorted(boxed):
            learned = real_objects(run, placing, label, references)
            placed = place_objects(run, placing, label, shown, learned, regions)
            drawing = PlacementPicture(region=placing.region)
            pictures = placement_picture(run, drawing, shown, placed, regions)
            written += _write(run, out / FOLDER / name, label, pictures)
    without = {
        f"{artifact.name} ({artifact.variant['label']})": artifact.reject_reason
        for artifact in run.made.values()
        if artifact.stage == place_objects.name and artifact.reject_reason
    }
    return ShownPlacements(folder=str(out / FOLDER), pictures=tuple(written), without=without)


def _settings_of(recipe: Recipe) -> dict[str, tuple[PlaceObjects, tuple[str, ...]]]:
    """How each generator places objects, and of which classes; none listed: of all.

    Raises:
        ValueError: no generator does.
    """
    found = {}
    for name, settings in recipe.generators.items():
        generator = find_generator(name)
        placing = generator.placing(settings)
        if placing is not None:
            found[name] = (placing, generator.classes(settings))
    if not found:
        raise ValueError(
            "generators: none places objects in photos; set generators.copy_paste.scenes.placing={}"
        )
    return found


def _write(run: RunContext, folder: Path, label: str, pictures: Sequence[Artifact]) -> list[str]:
    """Write pictures below a folder per class; their paths below the folder of the generator."""
    files = []
    for picture in pictures:
        stem = picture.name.replace("/", "_")
        file = folder / label / f"{stem}_place{picture.variant['place']}.jpg"
        write_atomic(file, run.store.read(picture))
        files.append(file.relative_to(folder.parent).as_posix())
    return files
