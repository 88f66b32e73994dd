"""Assemble real, synthetic and mixed datasets of equal volume from what the references became."""

from collections import Counter
from pathlib import Path

from prefect import flow

from flows.config.recipe import Recipe
from flows.execution.run_names import named_assemble
from flows.generate import Outcomes
from models.data.records import Artifact, IngestedPhotos, Record, Sample
from tasks.assemble.dataset import Dataset, choose, dataset
from tasks.assemble.manifest import write_manifest
from tasks.assemble.resize import resize
from tasks.assemble.write_folders import write_split
from tasks.engine.results import plain_reason, samples_of
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.store.store import RUNS_WAIT_S, open_store


class Assembled(Record):
    """The datasets of a run: their documents in the store, their volumes, and what was rejected."""

    arms: dict[str, Artifact]
    test: Artifact
    volumes: dict[str, dict[str, dict[str, int]]]
    test_volume: dict[str, int]
    rejects: dict[str, int]
    written: int
    counts: dict[str, StageCount]


@flow(name="assemble", flow_run_name=named_assemble)
def assemble(recipe: Recipe, run_id: str, out: Path, store: str) -> Assembled:
    """Draw, write and publish the datasets; images that are on disk already are not written again.

    Raises:
        TooFew: a class has too few images for the volume asked for.
        ForeignFolder: a dataset folder holds files that are not a run's.
        TooNear: a train image is all but the same as a held-out photo.
    """
    run = RunContext(open_store(store, wait_s=RUNS_WAIT_S), "assemble")
    photos = load_part(run.store, run_id, IngestedPhotos)
    outcomes = load_part(run.store, run_id, Outcomes).outcomes
    real = _real_samples(run, recipe, photos)
    synthetic = [
        sample
        for outcome in outcomes
        if outcome.expanded
        for sample in samples_of(run.store, outcome.expanded.key)
    ]
    train, val, test = (_of(real, split) for split in ("train", "val", "test"))
    references = [outcome.reference.name for outcome in outcomes]
    arms = choose(train, synthetic, references, recipe.assemble)

    folder = out / "datasets"
    written = write_split(run.store, test, folder / "test", folder / "masks" / "test")
    for arm, chosen in arms.items():
        for split, samples in (("train", chosen), ("val", val)):
            masks = folder / arm / "masks" / split
            written += write_split(run.store, samples, folder / arm / split, masks)
    write_manifest(out / "manifest.parquet", [*real, *synthetic], photos.refused, arms)
    val_images = [sample.image for sample in val]
    documents = {
        arm: dataset(run, Dataset(), arm, [one.image for one in chosen], val_images)[0]
        for arm, chosen in arms.items()
    }
    assembled = Assembled(
        arms=documents,
        test=dataset(run, Dataset(), "test", [], [one.image for one in test])[0],
        volumes={
            arm: {"train": _per_class(chosen), "val": _per_class(val)}
            for arm, chosen in arms.items()
        },
        test_volume=_per_class(test),
        rejects=_per_reason(synthetic),
        written=written,
        counts=run.counts,
    )
    save_part(run.store, run_id, assembled)
    return assembled


def _of(samples: list[Sample], split: str) -> list[Sample]:
    return [sample for sample in samples if sample.split == split]


def _real_samples(run: RunContext, recipe: Recipe, photos: IngestedPhotos) -> list[Sample]:
    jpegs = resize(run, recipe.resize, [one.photo for one in photos.photos])
    return [
        Sample(
            name=photo.name,
            label=photo.label,
            split=photo.split,
            origin="real",
            source=photo.name,
            image=jpeg,
            chain=("ingest", "resize"),
            prompt=photo.prompt,
        )
        for photo, jpeg in zip(photos.photos, jpegs, strict=True)
    ]


def _per_class(samples: list[Sample]) -> dict[str, int]:
    return dict(sorted(Counter(sample.label for sample in samples).items()))


def _per_reason(samples: list[Sample]) -> dict[str, int]:
    reasons = Counter(plain_reason(sample) for sample in samples if not sample.accepted)
    return dict(sorted(reasons.items()))
