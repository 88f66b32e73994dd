"""Makes the photos of the benchmarks: rendered scenes, the same each time."""

from pathlib import Path

from flows.config.recipe import Recipe
from flows.finish import Finish, finish_samples
from flows.generators.catalog import find_generator
from models.data import pixels
from models.data.records import Annotation, Sample, SourceImage
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.ingest.read_files import Ingest, ingest_files
from tasks.screen.heldout_index import HeldOut, index_heldout
from tests.demo_scenes.render import render

PHOTO = (400, 533)


def draw_photo(folder: Path, label: str, seed: int, size: tuple[int, int] = PHOTO) -> Path:
    """Render a scene of (width, height) px to a PNG file; a second call returns the same file."""
    path = folder / f"{label}_{seed}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels.encode_png(render(label, seed, size=size).pixels))
    return path


def ingest_photo(run: RunContext, path: Path) -> tuple[SourceImage, SharedInputs]:
    """Ingest a photo; return it, and inputs without held-out photos and backgrounds."""
    label = path.stem.partition("_")[0]
    name = f"{label}/{path.stem}"
    photo = ingest_files(run, Ingest(), {name: path}).photos[name]
    source = SourceImage(
        name=name,
        file=path.name,
        split="train",
        image=photo,
        annotations=(Annotation(label=label),),
    )
    return source, SharedInputs(heldout=tuple(index_heldout(run, HeldOut(), [])))


def make_item(source: SourceImage) -> WorkItem:
    """Return the work item of a photo for the generator multiview."""
    phase = find_generator("multiview").phases[0].name
    return WorkItem(generator="multiview", phase=phase, name=source.name, key="", sources=(source,))


def make_samples_of(
    run: RunContext, recipe: Recipe, source: SourceImage, shared: SharedInputs
) -> tuple[Sample, ...]:
    """Run all stages of the generator multiview on one photo, without Prefect."""
    generator = find_generator("multiview")
    settings = recipe.generators[generator.name]
    item = make_item(source)
    images = generator.phases[0].run(run, settings, item, shared)
    finish = Finish(screen=recipe.screen, resize=recipe.resize)
    return finish_samples(run, item, images, shared, finish)
