"""A planned run has the counts, names and keys of a real one, and computes nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import PHOTO_MEGAPIXELS, TFLOP_PER_S, Cost, PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.store.store import open_store


class Draw(Record):
    views: int = Field(3, ge=1)
    factor: int = 2
    model: str = "classical"

    @property
    def checkpoints(self) -> tuple[str, ...]:
        return () if self.model == "classical" else ("owner/network@1",)


def views(parameters: Draw, images: Sequence[Artifact]) -> list[Job]:
    return [Job((image,), {"view": view}) for image in images for view in range(parameters.views)]


@stage(
    "turn",
    version=4,
    plan=views,
    shown_as="turned",
    cost=Cost(
        ms=10,
        ms_per_mp=100,
        mb_per_mp=2,
        megapixels=lambda settings, _: 0.1 * settings.factor,
        tflop={"network": (5.0, 10.0)},
    ),
)
def turn(inputs: Sequence[StageInput], parameters: Draw) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(np.full((4, 4, 3), item.job.variant["view"], np.uint8))


@stage("copy", version=1, cost=Cost(ms_per_mp=1000, mb_per_mp=1))
def copy(inputs: Sequence[StageInput], parameters: Draw) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(item.load())


PHOTO = Artifact(
    key="p", stage="ingest", version=1, name="mug/a", media="png", digest="d" * 64, size=1
)


def test_placeholders_have_the_names_variants_and_keys_of_real_artifacts(tmp_path: Path) -> None:
    real = RunContext(open_store(tmp_path / "store"), "test")
    made = turn.run(real, Draw(), [PHOTO])
    planned = turn(PlanningRun(), Draw(), [PHOTO])
    assert [(image.key, image.name, image.variant, image.parents) for image in planned] == [
        (image.key, image.name, image.variant, image.parents) for image in made
    ]


def test_counts_every_stage_that_is_called() -> None:
    run = PlanningRun()
    copy(run, Draw(), turn(run, Draw(views=5), [PHOTO]))
    assert {name: (found.artifacts, found.version) for name, found in run.stages.items()} == {
        "turn": (5, 4),
        "copy": (5, 1),
    }
    assert run.stages["turn"].shown_as == "turned"
    assert run.stages["copy"].shown_as is None


def test_costs_follow_the_size_of_the_input() -> None:
    run = PlanningRun()
    turned = turn(run, Draw(factor=4), [PHOTO])
    copy(run, Draw(), turned)
    copy(run, Draw(), [PHOTO])
    assert run.stages["turn"].cpu_seconds == pytest.approx(3 * (0.010 + 0.4 * 0.100))
    assert run.stages["turn"].megabytes == pytest.approx(3 * 0.4 * 2)
    assert run.stages["copy"].cpu_seconds == pytest.approx(3 * 0.4 + PHOTO_MEGAPIXELS)


def test_a_network_costs_gpu_seconds() -> None:
    run = PlanningRun()
    turn(run, Draw(model="network"), [PHOTO])
    assert run.stages["turn"].gpu_seconds == pytest.approx(3 * (5 + 0.2 * 10) / TFLOP_PER_S)
    assert run.stages["turn"].cpu_seconds == pytest.approx(3 * 0.2 * 0.030)
    classical = PlanningRun()
    turn(classical, Draw(), [PHOTO])
    assert classical.stages["turn"].gpu_seconds == 0


@stage(
    "train_network",
    version=1,
    cost=Cost(
        tflop={"network": (2.0, 0.0)},
        repeats=lambda settings: 100 * settings.factor,
        megabytes=lambda settings: 7.0 * settings.views,
    ),
)
def train_network(inputs: Sequence[StageInput], parameters: Draw) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(item.load())


def test_a_training_repeats_its_operations_and_its_weights_have_a_size() -> None:
    run = PlanningRun()
    train_network(run, Draw(model="network"), [PHOTO])
    assert run.stages["train_network"].gpu_seconds == pytest.approx(2 * 100 * 2 / TFLOP_PER_S)
    assert run.stages["train_network"].megabytes == pytest.approx(7.0 * 3)


def test_plans_add_up() -> None:
    once, many = PlanningRun(), PlanningRun()
    turn(once, Draw(), [PHOTO])
    many.add(once, 4)
    many.add(once, 2)
    assert many.stages["turn"].artifacts == 18
    assert many.stages["turn"].cpu_seconds == pytest.approx(6 * once.stages["turn"].cpu_seconds)
