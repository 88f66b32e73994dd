import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow

from models.data.records import Artifact, Record
from models.training.classification.train import train_once
from models.training.segmentation.settings import SegmentationParameters
from models.training.settings import TrainingParameters
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.store.store import open_store
from tasks.train.evaluate import one_job_per_checkpoint, score
from tasks.train.train import once_per_seed, train, training_key_params
from tests.models.training.classification.test_train import CLASSES, draw_photos, parameters


class Settings(Record):
    """The test's own stages have no settings."""


@stage(
    "picture",
    version=1,
    plan=lambda _, count: [
        Job((), {"n": n}, f"{CLASSES[n % 3]}/{n:02d}") for n in range(len(count))
    ],
)
def picture(inputs: Sequence[StageInput], parameters: Settings) -> Iterator[StageOutput]:
    for item in inputs:
        pixels = item.rng().integers(0, 160, (24, 32, 3), np.uint8)
        pixels[..., int(item.job.variant["n"]) % 3] += 80
        yield StageOutput(pixels)


@stage(
    "document",
    version=1,
    media="json",
    plan=lambda _, name, images: [Job(tuple(images), {"dataset": name}, name)],
)
def document(inputs: Sequence[StageInput], parameters: Settings) -> Iterator[StageOutput]:
    for item in inputs:
        rows = [[image.id, image.name.partition("/")[0]] for image in item.job.inputs]
        content = {
            "classes": sorted(CLASSES),
            "train": rows[:18],
            "val": rows[18:],
            "generators": [""] * 12 + ["multiview"] * 6,
        }
        yield StageOutput(content, metadata={"train": 18})


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test", scratch=tmp_path / "scratch")


def make_dataset(run: RunContext, name: str) -> list[Artifact]:
    images = picture.run(run, Settings(), [None] * 27)
    return document.run(run, Settings(), name, images)


def test_trains_once_per_seed_and_keeps_every_prediction(run: RunContext) -> None:
    settings = parameters(epochs=2, seeds=(3, 5))
    datasets = make_dataset(run, "real")
    checkpoints = train.run(run, settings, "real_crop", datasets)
    variants = [(made.variant["dataset"], made.variant["seed"]) for made in checkpoints]
    assert variants == [("real_crop", 3), ("real_crop", 5)]
    assert [len(made.metadata["history"]) for made in checkpoints] == [2, 2]
    scores = score.run(run, settings, checkpoints, datasets, datasets[:1])
    content: Any = run.load(scores[0])
    assert list(content) == ["classes", "val", "test"]
    assert list(content["test"]) == ["images", "truth", "probabilities"]
    assert len(content["test"]["images"]) == 9
    assert np.sum(content["test"]["probabilities"], axis=1) == pytest.approx(1, abs=1e-5)


def test_a_linear_classifier_goes_through_the_same_stages(run: RunContext) -> None:
    settings = parameters(classifier="linear", balanced=True, augment="none", seeds=(3, 5))
    datasets = make_dataset(run, "mixed")
    checkpoints = train.run(run, settings, "mixed_linear", datasets)
    assert [made.metadata["network"] for made in checkpoints] == [
        "linear on tf_efficientnet_lite0"
    ] * 2
    assert checkpoints[0].digest == checkpoints[1].digest
    scores = score.run(run, settings, checkpoints, datasets, datasets)
    content: Any = run.load(scores[0])
    rows = np.array(content["test"]["probabilities"])
    assert rows.shape == (9, 3)
    assert rows.sum(axis=1) == pytest.approx(1, abs=1e-5)
    # Only an improbable class has so little; six decimals would leave 0.
    assert 0 < rows.min() < 1e-3


def test_val_chooses_one_of_several_numbers_of_epochs(run: RunContext) -> None:
    settings = parameters(schedule="onecycle", epoch_choices=(1, 2), seeds=(3,))
    (made,) = train.run(run, settings, "real", make_dataset(run, "real"))
    choices = made.metadata["epoch_choices"]
    assert [choice["epochs"] for choice in choices] == [1, 2]
    (chosen,) = [choice for choice in choices if choice["chosen"]]
    assert chosen["val_score"] == max(choice["val_score"] for choice in choices)
    assert len(made.metadata["history"]) == chosen["epochs"]
    folder = run.scratch / "training" / "real"
    assert {path.parent.name for path in folder.glob("*/*/best.ckpt")} == {"epochs-1", "epochs-2"}


def test_a_weights_file_counts_by_its_bytes(tmp_path: Path) -> None:
    keys = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        settings = TrainingParameters(weights_file=tmp_path / name)
        keys.append(json.dumps(training_key_params(settings)))
    assert keys[0] == keys[1] != keys[2]


def test_loggers_workers_and_seeds_are_not_in_the_key() -> None:
    changed = TrainingParameters(loggers=(), workers=4, seeds=(1, 2), memory_mb=0)
    assert training_key_params(changed) == training_key_params(TrainingParameters())


def test_loader_processes_work_after_a_flow_has_run(prefect_server: None, tmp_path: Path) -> None:
    @flow
    def do_nothing() -> None:
        pass

    do_nothing()
    photos = draw_photos(tmp_path / "photos")
    settings = parameters(epochs=1, workers=2)
    trained = train_once(photos[:28], photos[28:], CLASSES, settings, 7, tmp_path / "run")
    assert trained.epochs_run == 1


def test_each_dataset_is_trained_and_scored_with_its_own_masks() -> None:
    def made(name: str, parents: tuple[str, ...] = ()) -> Artifact:
        fields = {"key": name, "stage": "x", "version": 1, "media": "json", "digest": name}
        return Artifact(name=name, size=1, parents=parents, **fields)

    datasets, truths = [made("few"), made("many")], [made("few masks"), made("many masks")]
    settings = SegmentationParameters(seeds=(0, 1))
    jobs = once_per_seed(settings, "study", datasets, truths)
    assert [[found.name for found in job.inputs] for job in jobs] == [
        ["few", "few masks"],
        ["few", "few masks"],
        ["many", "many masks"],
        ["many", "many masks"],
    ]
    (job,) = one_job_per_checkpoint(
        settings, [made("weights", (datasets[1].id,))], datasets, [made("test")], truths,
        [made("test masks")],
    )  # fmt: skip
    names = ["weights", "many", "test", "many masks", "test masks"]
    assert [found.name for found in job.inputs] == names
