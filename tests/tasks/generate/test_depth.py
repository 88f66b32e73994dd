"""The depth stage by networks: what becomes of a result, and what of the settings counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.records import Artifact, Record
from models.depth.dpt import DepthAnything, Dpt
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from tasks.engine.jobs import Job, StageInput, StageOutput, checkpoints_of
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.depth import Depth, DepthAnythingV2, DepthDpt, DepthRelief, depth
from tasks.store.store import open_store
from tests.checkpoints import depth_anything, dpt

CPU = Machine(torch.device("cpu"), torch.float32)


class Nothing(Record):
    pass


@stage("photo", version=1, plan=lambda _, count: [
    Job((), {"n": at}, name=f"mug/{at}") for at in range(count)
])  # fmt: skip
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """An RGB image and an RGB + matte image."""
    for item in inputs:
        image = item.rng().integers(0, 255, (48, 64, 4), dtype=np.uint8)
        yield StageOutput(image if item.job.variant["n"] else image[..., :3])


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(run: RunContext) -> list[Artifact]:
    return photo.run(run, Nothing(), 2)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Any]:
    base = tmp_path_factory.mktemp("checkpoints")
    dpt.build(base / "dpt")
    depth_anything.build(base / "anything")
    return {
        Dpt: Dpt.load(base / "dpt", machine=CPU),
        DepthAnything: DepthAnything.load(base / "anything", machine=CPU),
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, loaded: dict[type, Any]) -> list[tuple[Any, ...]]:
    """Every call of `ask`, answered by the tiny networks."""
    calls: list[tuple[Any, ...]] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, *references, len(requests)))
        return list(loaded[kind].compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


@pytest.mark.parametrize(
    ("parameters", "kind", "checkpoint"),
    [
        (DepthDpt(), Dpt, "Intel/dpt-large"),
        (
            DepthAnythingV2(),
            DepthAnything,
            "depth-anything/Depth-Anything-V2-Small-hf",
        ),
    ],
)
def test_a_network_s_depth_is_16_bit_and_asked_for_once(
    parameters: Depth,
    kind: type,
    checkpoint: str,
    run: RunContext,
    photos: list[Artifact],
    asked: list[tuple[Any, ...]],
) -> None:
    made = depth.run(run, parameters, photos)
    assert asked == [(kind, checkpoint, 2)]
    assert parameters.checkpoints == (checkpoint,)
    for artifact in made:
        near = run.load(artifact)
        assert near.dtype == np.uint16
        assert near.shape == (48, 64)
        assert (near.min(), near.max()) == (0, 65535)
    depth.run(run, parameters, photos)
    assert len(asked) == 1


def test_an_unusable_result_is_a_rejection(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(*_: object) -> list[Any]:
        return [InvalidOutput("the network gave no finite numbers"), np.eye(4, dtype=np.float32)]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    made = depth.run(run, DepthDpt(), photos)
    assert [one.name for one in made] == ["mug/1"]
    (rejected,) = [one for one in run.made.values() if one.reject_reason]
    assert rejected.reject_reason == "the network gave no finite numbers"


def test_the_classical_depth_names_no_checkpoint_and_loads_none(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr("models.runtime.network_pool.infer", refuse)
    assert not checkpoints_of(DepthRelief())
    assert depth.run(run, DepthRelief(), photos)


def test_the_checkpoint_is_part_of_the_key(photos: list[Artifact]) -> None:
    def key(parameters: Depth) -> str:
        return depth.key(Job((photos[0],)), parameters)

    settings = [DepthRelief(), DepthDpt(), DepthAnythingV2(), DepthDpt(checkpoint="a/b@1")]
    assert len({key(parameters) for parameters in settings}) == len(settings)
