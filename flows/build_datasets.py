"""Datasets: the training sets to compare, drawn from real photos and generated images."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from prefect import flow

from flows.config.recipe import Recipe
from flows.execution.progress import log_progress, stage_progress
from flows.execution.run_names import recipe_name
from flows.generate import Generation
from models.data.records import Artifact, Record, Sample, Sources
from models.data.specs import Origin
from tasks.assemble.annotate import Annotate, annotate
from tasks.assemble.choose import choose, find_repeated
from tasks.assemble.choose_scenes import choose_scenes
from tasks.assemble.dataset import Dataset, dataset
from tasks.assemble.gaps import count_reasons
from tasks.assemble.ground_truth import write_truths
from tasks.assemble.manifest import write_manifest
from tasks.assemble.origin import find_origin
from tasks.assemble.resize import resize
from tasks.assemble.samples import real_sample
from tasks.assemble.short_classes import find_short_classes, mark_left_out, require_datasets
from tasks.assemble.write_datasets import write_datasets
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.ingest.left_out import leave_out
from tasks.store.store import RUNS_WAIT_S, open_store


class Datasets(Record):
    """The datasets of a run: their documents in the store, volumes, and rejections by reason.

    ``repeated`` names default datasets that are left out: each would hold the images of another.
    ``left_out`` says of classes with too few images why no dataset holds them.
    ``truths`` are documents of masks or boxes by dataset, and of ``test``, for tasks that need
    them.
    ``families`` has the near-duplicate family of each val and test photo, by its artifact's id.
    """

    documents: dict[str, Artifact]
    test: Artifact
    volumes: dict[str, dict[str, dict[str, int]]]
    origins: dict[str, Origin]
    families: dict[str, str]
    test_volume: dict[str, int]
    rejects: dict[str, int]
    written: int
    counts: dict[str, StageCount]
    repeated: dict[str, str] = {}
    truths: dict[str, Artifact] = {}
    left_out: dict[str, str] = {}


@flow(name="build_datasets", flow_run_name=lambda: f"{recipe_name()} · datasets")
def build_datasets(recipe: Recipe, run_id: str, out: Path, store: str) -> Datasets:
    """Draw, write and publish the datasets. Files that have not changed are not written again.

    Raises:
        DatasetTooSmallError: classes have too few images for what the recipe wants.
        ForeignFileError: a dataset folder holds a file that no run made.
    """
    log_progress()
    with stage_progress() as on_batch:
        opened = open_store(store, wait_s=RUNS_WAIT_S)
        return _build(RunContext(opened, "datasets", on_batch=on_batch), recipe, run_id, out)


def _build(run: RunContext, recipe: Recipe, run_id: str, out: Path) -> Datasets:
    sources = load_part(run.store, run_id, Sources)
    generation = load_part(run.store, run_id, Generation)
    real = real_samples(run, recipe, sources)
    synthetic = generation.load_samples(run.store)
    references = sorted({name for result in generation.all for name in result.sources})
    short = _find_short(recipe, _of(real, "train"), synthetic, references)
    require_datasets(short, len(sources.classes), recipe.leave_out_classes)
    train, val, test = (_of(real, split, short) for split in ("train", "val", "test"))
    usable = {name: mark_left_out(samples, short) for name, samples in synthetic.items()}
    chosen, repeated = _choose(recipe, train, usable, references)
    splits = {name: {"train": samples, "val": val} for name, samples in chosen.items()}
    classes = leave_out(sources, short).classes
    written = write_datasets(run.store, out, splits, test, classes)
    made = [sample for samples in synthetic.values() for sample in samples]
    listed = mark_left_out([*real, *made], short)
    held = {name: [*samples, *val] for name, samples in chosen.items()}
    truths = write_truths(run, recipe.train, {**held, "test": test})
    settings = dataset_settings(recipe, classes)
    write_manifest(out / "manifest.parquet", listed, sources.refused, chosen)
    datasets = Datasets(
        documents={
            name: dataset(run, settings, name, samples, val)[0] for name, samples in chosen.items()
        },
        test=dataset(run, settings, "test", [], test)[0],
        volumes={name: _volumes(samples, val) for name, samples in chosen.items()},
        origins={name: find_origin(samples, train, references) for name, samples in chosen.items()},
        families=families_of(sources, [*val, *test]),
        test_volume=_per_class(test),
        rejects=count_reasons(made),
        written=written,
        counts=run.counts,
        repeated=repeated,
        truths=truths,
        left_out=short,
    )
    save_part(run.store, run_id, datasets)
    return datasets


def dataset_settings(recipe: Recipe, classes: Sequence[str]) -> Dataset:
    """How the documents of datasets list images: with all objects where a training needs them.

    Args:
        classes: all classes that objects of photos have.
    """
    training = recipe.train
    if training is None or not (training.needs_masks or training.needs_boxes):
        return Dataset()
    # A class may be the one that no photo is counted in.
    is_named = recipe.has_scenes or training.needs_boxes
    return Dataset(by_object=True, classes=tuple(classes) if is_named else ())


def _find_short(
    recipe: Recipe,
    train: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
) -> dict[str, str]:
    """Classes with too few images. Scenes that are counted in another class may show a class."""
    if recipe.has_scenes:
        return {}
    return find_short_classes(recipe.dataset_specs, train, synthetic, references, recipe.assemble)


def _choose(
    recipe: Recipe,
    train: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """The train images of each dataset, and default datasets that would repeat another one."""
    choose_images = choose_scenes if recipe.has_scenes else choose
    chosen = choose_images(recipe.dataset_specs, train, synthetic, references, recipe.assemble)
    # Who lists the same images twice wants both.
    repeated = {} if recipe.datasets else find_repeated(chosen)
    return {name: samples for name, samples in chosen.items() if name not in repeated}, repeated


def real_samples(run: RunContext, recipe: Recipe, sources: Sources) -> list[Sample]:
    """The sample of each real photo, at the size that datasets hold, in the order of sources."""
    jpegs = resize(run, recipe.resize, [source.image for source in sources.images])
    masks = [
        note.mask
        for source in sources.images
        for note in source.annotations
        if note.mask is not None
    ]
    resized = annotate(run, Annotate(longest_side=recipe.resize.longest_side), masks)
    by_mask = {mask.id: small for mask, small in zip(masks, resized, strict=True)}
    return [
        real_sample(source, jpeg, by_mask)
        for source, jpeg in zip(sources.images, jpegs, strict=True)
    ]


def families_of(sources: Sources, samples: Sequence[Sample]) -> dict[str, str]:
    """The near-duplicate family of each real photo, by the id of its dataset file."""
    families = {source.name: source.family or source.name for source in sources.images}
    return {sample.image.id: families[sample.name] for sample in samples}


def _of(samples: Sequence[Sample], split: str, left_out: Container[str] = ()) -> list[Sample]:
    return [s for s in samples if s.split == split and s.label not in left_out]


def _volumes(train: list[Sample], val: list[Sample]) -> dict[str, dict[str, int]]:
    """Images per class: of train, of its generated images, and of val."""
    synthetic = [sample for sample in train if sample.generator]
    return {
        "train": _per_class(train),
        "synthetic": _per_class(synthetic),
        "val": _per_class(val),
    }


def _per_class(samples: list[Sample]) -> dict[str, int]:
    return dict(sorted(Counter(sample.label for sample in samples).items()))
