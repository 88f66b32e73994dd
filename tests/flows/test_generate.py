"""Generators that only these tests know: phases of every unit, weights, failures, no masks."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.build_datasets import build_datasets
from flows.config.recipe import Recipe
from flows.execution.results import ItemsFailedError
from flows.execution.run_items import Execution
from flows.finish import Finish
from flows.generate import Generation, generate
from flows.generators import catalog
from flows.generators.base import Generator, Phase
from flows.items import make_items
from flows.planning import make_plan
from models.data import pixels
from models.data.objects import encode_mask
from models.data.records import Artifact, Record, Sources
from models.data.specs import DatasetSpec
from models.reporting.metrics import Factor
from tasks.assemble.choose import Assemble
from tasks.engine.item_documents import load_samples
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.run_documents import make_run_id, save_part
from tasks.engine.stage import stage
from tasks.engine.work_items import ItemConfig, Result, SharedInputs
from tasks.ingest.photos import ingest_photos
from tasks.screen.heldout_index import HeldOut, index_heldout
from tasks.screen.screen import Screen
from tasks.store.store import open_store
from tests.tiny import CLASSES, PER_CLASS, draw_photos

pytestmark = pytest.mark.usefixtures("prefect_server")
REFERENCES = len(CLASSES) * PER_CLASS["train"]
OFF = Screen(
    min_contrast=0,
    min_sharpness=0,
    min_object=0,
    max_object=1,
    max_cut=1,
    sibling_bits=0,
    heldout_bits=0,
)


class Settings(Record):
    """The settings of all generators of these tests."""

    copies: int = 2
    steps: int = 5
    fails_on: str = ""


class FitFailedError(RuntimeError):
    """A class that can't be fitted."""


def one_of_all(_settings: Settings, images: Sequence[Artifact], name: str) -> list[Job]:
    return [Job(tuple(images), name=name)]


@stage("fit", version=1, media="safetensors", plan=one_of_all)
def fit(inputs: Sequence[StageInput], settings: Settings) -> Iterator[StageOutput]:
    """Weights: the mean colour of the images."""
    for item in inputs:
        if settings.fails_on and item.job.name == settings.fails_on:
            raise FitFailedError(f"{item.job.name}: no memory")
        images = [item.load(position) for position in range(len(item.job.inputs))]
        mean = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
        yield StageOutput(mean.astype(np.uint8).tobytes())


def copies(
    settings: Settings, photos: Sequence[Artifact], weights: Sequence[Artifact]
) -> list[Job]:
    return [
        Job((photo, *weights), {"draw": number})
        for photo in photos
        for number in range(settings.copies)
    ]


@stage("draw", version=1, plan=copies)
def draw(inputs: Sequence[StageInput], settings: Settings) -> Iterator[StageOutput]:
    """RGB noise in the colour of the weights."""
    for item in inputs:
        weights = item.job.inputs[1:]
        colour = np.mean(
            [np.frombuffer(item.run.store.read(found), np.uint8) for found in weights], axis=0
        )
        noise = item.rng().integers(-9, 9, (48, 64, 3))
        yield StageOutput(np.clip(colour + noise, 0, 255).astype(np.uint8))


MASKS = (np.zeros((48, 64), bool), np.zeros((48, 64), bool))
MASKS[0][5:20, 4:24] = True
MASKS[1][25:45, 30:60] = True


def plain(settings: Settings, photos: Sequence[Artifact]) -> list[Job]:
    return copies(settings, photos, [])


@stage("place", version=1, plan=plain)
def place(inputs: Sequence[StageInput], _settings: Settings) -> Iterator[StageOutput]:
    """Images with two objects: one with a mask, one with a box alone."""
    for item in inputs:
        image = item.rng().integers(0, 255, (48, 64, 3), dtype=np.uint8)
        label = item.job.names("place")["name"].partition("/")[0]
        objects = [
            {"label": label, "box": [4, 5, 20, 15], "mask": encode_mask(MASKS[0])},
            {"label": label, "box": [30, 25, 30, 20], "mask": None},
        ]
        yield StageOutput(image, metadata={"objects": objects})


def fit_items(run: Any, settings: Settings, item: Any, _shared: SharedInputs) -> list[Artifact]:
    return fit(run, settings, [source.image for source in item.sources], item.name)


def draw_items(run: Any, settings: Settings, item: Any, _shared: SharedInputs) -> list[Artifact]:
    return draw(run, settings, [source.image for source in item.sources], item.inputs)


def place_items(run: Any, settings: Settings, item: Any, _shared: SharedInputs) -> list[Artifact]:
    return place(run, settings, [source.image for source in item.sources])


def factors(settings: Settings) -> tuple[Factor, ...]:
    return (Factor(amount=settings.copies, name="n", note="images"),)


PER_CLASS_WEIGHTS = Generator(
    "per_class",
    Settings,
    (Phase("fit", "class", fit_items), Phase("draw", "image", draw_items)),
    factors,
)
PER_SHARD_WEIGHTS = Generator(
    "per_shard",
    Settings,
    (Phase("fit", "shard", fit_items, shard_size=4), Phase("draw", "class", draw_items)),
    factors,
)
PLACED = Generator("placed", Settings, (Phase("place", "image", place_items),), factors)


@pytest.fixture(autouse=True)
def generators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "GENERATORS", (PER_CLASS_WEIGHTS, PER_SHARD_WEIGHTS, PLACED))


class Photos:
    """Drawn photos in a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw_photos(folder / "photos")
        self.run = RunContext(open_store(folder / "store"), "test")
        recipe = Recipe(generators={"placed": {}})
        self.sources: Sources = ingest_photos(
            self.run, folder / "photos", recipe.ingest, recipe.split
        )
        heldout = [source.image for source in self.sources.of("val", "test")]
        self.shared = SharedInputs(heldout=tuple(index_heldout(self.run, HeldOut(), heldout)))

    def generate(
        self, name: str, settings: Settings | None = None, min_results: int | None = None
    ) -> list[Result]:
        finish = Finish(screen=OFF, resize=Recipe(generators={"placed": {}}).resize)
        references = self.sources.of("train")
        # A run of its own, as a rerun has.
        run = RunContext(self.run.store, "test")
        execution = Execution(max_parallel=2)
        return generate(
            run,
            name,
            settings or Settings(),
            references,
            self.shared,
            finish,
            execution,
            min_results,
        )

    def parents_of(self, result: Result) -> set[str]:
        """The names of the weights that the images of a result were drawn with."""
        samples = load_samples(self.run.store, result.key)
        names = set()
        for sample in samples:
            (image,) = sample.image.parents
            stage_name, _, key = image.partition("/")
            artifact = self.run.store.find(stage_name, [key])[key]
            for parent in artifact.parents:
                if parent.startswith("fit/"):
                    weights_key = parent.partition("/")[2]
                    names.add(self.run.store.find("fit", [weights_key])[weights_key].name)
        return names


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def test_weights_of_a_class_feed_the_images_of_that_class(photos: Photos) -> None:
    results = photos.generate("per_class")
    assert len(results) == REFERENCES
    for result in results:
        assert result.failure is None
        assert (result.made, result.accepted) == (2, 2)
        assert photos.parents_of(result) == {result.label}


def test_weights_of_shards_feed_every_class_that_the_shard_holds(photos: Photos) -> None:
    # Three blocks and a disc are shard 0; two discs are shard 1.
    results = photos.generate("per_shard")
    assert [result.item for result in results] == sorted(CLASSES)
    by_label = {result.label: photos.parents_of(result) for result in results}
    assert by_label == {"block": {"shard 0"}, "disc": {"shard 0", "shard 1"}}
    assert [result.made for result in results] == [2 * PER_CLASS["train"]] * 2


def test_phases_that_are_done_start_nothing(photos: Photos) -> None:
    first = photos.generate("per_class")
    again = photos.generate("per_class")
    assert all(result.cached for result in again)
    assert [result.key for result in again] == [result.key for result in first]


def test_other_weights_draw_all_images_of_their_class_again(photos: Photos) -> None:
    first = photos.generate("per_class")
    again = photos.generate("per_class", Settings(steps=6))
    assert not any(result.cached for result in again)
    assert {result.key for result in first}.isdisjoint(result.key for result in again)


def test_a_failed_phase_stops_the_generator_and_names_the_item(photos: Photos) -> None:
    with pytest.raises(ItemsFailedError, match=r"1 of 2 references failed .disc: disc: no memory"):
        photos.generate("per_class", Settings(fails_on="disc"))


def test_a_class_without_weights_is_left_out_of_later_phases_and_reported(photos: Photos) -> None:
    results = photos.generate("per_class", Settings(fails_on="disc"), min_results=1)
    failed = [result for result in results if result.failure]
    assert [(result.item, result.failure) for result in failed] == [("disc", "disc: no memory")]
    assert {result.label for result in results if not result.failure} == {"block"}
    assert all(photos.parents_of(result) == {"block"} for result in results if not result.failure)


def test_a_plan_counts_the_items_of_every_phase(photos: Photos) -> None:
    recipe = Recipe(generators={"per_class": {}, "per_shard": {}})
    plan = make_plan(recipe, photos.folder / "photos", None)
    counts = {(row.generator, row.stage): row.artifacts for row in plan.stages}
    assert counts["per_class", "fit"] == len(CLASSES)
    assert counts["per_class", "draw"] == REFERENCES * 2
    assert counts["per_shard", "fit"] == 2
    assert counts["per_shard", "draw"] == REFERENCES * 2
    assert plan.images == REFERENCES * 4


def test_a_new_version_of_a_stage_is_a_new_key(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        config = ItemConfig(settings={}, finish={}, shared=SharedInputs())
        references = photos.sources.of("train")
        phase = PLACED.phases[0]
        items = make_items(PLACED, phase, Settings(), references, {}, config)
        return [item.key for item in items]

    before = keys()
    monkeypatch.setitem(globals(), "place", replace(place, version=2))
    assert set(before).isdisjoint(keys())


def test_boxes_and_masks_of_objects_reach_the_dataset(photos: Photos) -> None:
    out = photos.folder / "out"
    folder = write_datasets(photos, out, "placed")
    content = json.loads((folder / "train.json").read_text())
    assert len(content["images"]) == len(CLASSES) * 2
    for image in content["images"]:
        with_mask, with_box = (
            entry for entry in content["annotations"] if entry["image_id"] == image["id"]
        )
        assert with_mask["bbox"] == [4, 5, 20, 15]
        assert with_mask["area"] == MASKS[0].sum()
        assert with_box["bbox"] == [30, 25, 30, 20]
        assert "segmentation" not in with_box
        (name,) = image["masks"]
        mask = pixels.decode((out / name).read_bytes())
        np.testing.assert_array_equal(mask > 0, MASKS[0])


def test_images_without_a_mask_reach_the_dataset_with_their_label_alone(photos: Photos) -> None:
    out = photos.folder / "out"
    folder = write_datasets(photos, out, "per_class")
    content = json.loads((folder / "train.json").read_text())
    assert len(content["images"]) == len(CLASSES) * 2
    assert content["annotations"] == []
    assert {image["label"] for image in content["images"]} == set(CLASSES)
    assert not (out / "masks").exists()
    for image in content["images"]:
        assert (out / image["file_name"]).is_file()
        assert "heldout_bits" in image["scores"]


def write_datasets(photos: Photos, out: Path, generator: str) -> Path:
    """The datasets of one generator; returns the folder of the synthetic one's annotations."""
    recipe = Recipe(
        generators={generator: {}},
        datasets=(
            DatasetSpec(name="real", real=1.0),
            DatasetSpec(name="synthetic", synthetic={generator: 1.0}),
        ),
        assemble=Assemble(per_class=2),
        train=None,
    )
    run_id = make_run_id(out)
    save_part(photos.run.store, run_id, photos.sources)
    results = {generator: tuple(photos.generate(generator))}
    save_part(photos.run.store, run_id, Generation(results=results))
    build_datasets(recipe, run_id, out, photos.run.store.url)
    return out / "annotations" / "synthetic"
