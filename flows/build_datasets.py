"""Datasets: the training sets to compare, drawn from real photos and generated images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.config.recipe import Recipe
from flows.execution.progress import log_progress
from flows.execution.run_names import recipe_name
from flows.generate import Generation
from models.data.records import Artifact, Origin, Record, Sample, Sources
from tasks.assemble.annotate import Annotate, annotate
from tasks.assemble.choose import choose, find_repeated
from tasks.assemble.dataset import Dataset, dataset
from tasks.assemble.manifest import write_manifest
from tasks.assemble.origin import find_origin
from tasks.assemble.resize import resize
from tasks.assemble.samples import real_sample
from tasks.assemble.write_datasets import write_datasets
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.store.store import RUNS_WAIT_S, open_store


class Datasets(Record):
    """The datasets of a run: their documents in the store, volumes, and rejections by reason.

    ``repeated`` names default datasets that are left out: each would hold the images of another.
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


@flow(name="build_datasets", flow_run_name=lambda: f"{recipe_name()} · datasets")
def build_datasets(recipe: Recipe, run_id: str, out: Path, store: str) -> Datasets:
    """Draw, write and publish the datasets. Files that have not changed are not written again.

    Raises:
        DatasetTooSmallError: a class has too few images for what a dataset asks.
        ForeignFileError: a dataset folder holds a file that no run made.
    """
    log_progress()
    run = RunContext(open_store(store, wait_s=RUNS_WAIT_S), "datasets")
    sources = load_part(run.store, run_id, Sources)
    generation = load_part(run.store, run_id, Generation)
    real = real_samples(run, recipe, sources)
    synthetic = generation.load_samples(run.store)
    train, val, test = (
        [sample for sample in real if sample.split == split] for split in ("train", "val", "test")
    )
    references = {name for result in generation.all for name in result.sources}
    chosen = choose(recipe.dataset_specs, train, synthetic, sorted(references), recipe.assemble)
    # Who lists the same images twice wants both.
    repeated = {} if recipe.datasets else find_repeated(chosen)
    chosen = {name: samples for name, samples in chosen.items() if name not in repeated}
    written = write_datasets(
        run.store,
        out,
        {name: {"train": samples, "val": val} for name, samples in chosen.items()},
        test,
        sources.classes,
    )
    made = [sample for samples in synthetic.values() for sample in samples]
    write_manifest(out / "manifest.parquet", [*real, *made], sources.refused, chosen)
    datasets = Datasets(
        documents={
            name: dataset(run, Dataset(), name, samples, val)[0] for name, samples in chosen.items()
        },
        test=dataset(run, Dataset(), "test", [], test)[0],
        volumes={
            name: {
                "train": _per_class(samples),
                "synthetic": _per_class([sample for sample in samples if sample.generator]),
                "val": _per_class(val),
            }
            for name, samples in chosen.items()
        },
        origins={
            name: find_origin(samples, train, sorted(references))
            for name, samples in chosen.items()
        },
        families=families_of(sources, [*val, *test]),
        test_volume=_per_class(test),
        rejects=_per_reason(made),
        written=written,
        counts=run.counts,
        repeated=repeated,
    )
    save_part(run.store, run_id, datasets)
    return datasets


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


def _per_class(samples: list[Sample]) -> dict[str, int]:
    return dict(sorted(Counter(sample.label for sample in samples).items()))


def _per_reason(samples: list[Sample]) -> dict[str, int]:
    reasons = Counter(sample.reject_kind for sample in samples if not sample.is_accepted)
    return dict(sorted(reasons.items()))
