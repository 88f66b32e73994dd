"""The upscale stage by Real-ESRGAN: which network, what becomes of the matte and of a failure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.data.records import Artifact, Record
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.upscaling.lanczos import upscale_lanczos
from models.upscaling.real_esrgan import RealEsrgan
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.upscale import UpscaleLanczos, UpscaleRealEsrgan, upscale
from tasks.store.store import open_store
from tests.checkpoints import realesrgan

CPU = Machine(torch.device("cpu"), torch.float32)
X2, X4 = "xinntao/RealESRGAN_x2plus", "xinntao/RealESRGAN_x4plus"


class Nothing(Record):
    pass


@stage("photo", version=1, plan=lambda _, count: [
    Job((), {"n": at}, name=f"mug/{at}") for at in range(count)
])  # fmt: skip
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """An RGB image and an RGB + matte image."""
    for item in inputs:
        image = item.rng().integers(0, 255, (24, 32, 4), dtype=np.uint8)
        image[..., 3] = 0
        image[6:18, 8:24, 3] = 255
        yield StageOutput(image if item.job.variant["n"] else image[..., :3])


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(run: RunContext) -> list[Artifact]:
    return photo.run(run, Nothing(), 2)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RealEsrgan]:
    base = tmp_path_factory.mktemp("checkpoints")
    realesrgan.build_x2(base / "x2")
    realesrgan.build_x4(base / "x4")
    return {
        X2: RealEsrgan.load(base / "x2", machine=CPU),
        X4: RealEsrgan.load(base / "x4", machine=CPU),
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, networks: dict[str, RealEsrgan]) -> list[Any]:
    """Every call of `ask`, answered by the tiny networks."""
    calls: list[Any] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, *references, len(requests)))
        (reference,) = references
        return list(networks[reference].compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


@pytest.mark.parametrize(("factor", "checkpoint"), [(2, X2), (3, X4), (4, X4), (8, X4)])
def test_the_factor_chooses_the_network_and_is_met(
    run: RunContext, photos: list[Artifact], asked: list[Any], factor: int, checkpoint: str
) -> None:
    parameters = UpscaleRealEsrgan(factor=factor)
    made = upscale.run(run, parameters, photos)
    assert asked == [(RealEsrgan, checkpoint, 2)]
    assert parameters.checkpoints == (checkpoint,)
    for artifact, source in zip(made, photos, strict=True):
        image, before = run.load(artifact), run.load(source)
        assert image.shape == (24 * factor, 32 * factor, before.shape[2])
        assert artifact.metadata == {"width": 32 * factor, "height": 24 * factor}
        assert artifact.model == "realesrgan"
    upscale.run(run, parameters, photos)
    assert len(asked) == 1


def test_the_matte_stays_sharp(run: RunContext, photos: list[Artifact], asked: list[Any]) -> None:
    _, made = upscale.run(run, UpscaleRealEsrgan(factor=2), photos)
    matte = run.load(photos[1])[..., 3]
    wanted = cv2.resize(matte, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(run.load(made)[..., 3], wanted)


def test_a_factor_of_one_needs_no_network(
    run: RunContext, photos: list[Artifact], asked: list[Any]
) -> None:
    parameters = UpscaleRealEsrgan(factor=1)
    made = upscale.run(run, parameters, photos)
    assert asked == []
    assert parameters.checkpoints == ()
    assert [one.digest for one in made] == [one.digest for one in photos]


def test_a_named_checkpoint_replaces_the_one_of_the_factor() -> None:
    own = UpscaleRealEsrgan(factor=2, checkpoint="acme/sharper@1")
    assert own.checkpoints == ("acme/sharper@1",)
    assert UpscaleRealEsrgan.model_validate(own.model_dump()) == own


def test_an_unusable_result_is_a_rejection(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(*_: object) -> list[Any]:
        return [InvalidOutput("the network gave no finite numbers"), np.zeros((4, 4, 3), np.uint8)]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    made = upscale.run(run, UpscaleRealEsrgan(), photos)
    assert [one.name for one in made] == ["mug/1"]


def test_lanczos_resamples_and_sharpens(run: RunContext, photos: list[Artifact]) -> None:
    parameters = UpscaleLanczos()
    assert upscale.key_params(parameters) == {"model": "lanczos", "factor": 2, "sharpen": 0.3}
    for made, source in zip(upscale.run(run, parameters, photos), photos, strict=True):
        assert np.array_equal(run.load(made), upscale_lanczos(run.load(source), 2, 0.3))
