"""The image-to-image stage: one photo, n images, and the sizes SDXL can draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.records import Artifact, Record
from models.diffusion.grid import fit_to_grid
from models.diffusion.safety import UnsafeImage
from models.diffusion.sdxl.image_to_image import SdxlImg2Img
from models.runtime.hardware import Machine
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.image_to_image import ImageToImage, image_to_image
from tasks.store.store import open_store
from tests.checkpoints import sdxl

pytest.importorskip("compel")
CPU = Machine(torch.device("cpu"), torch.float32)
FEW = ImageToImage(n_images=3, longest_side=128, steps=20, strength=0.1)


class Nothing(Record):
    pass


@stage("photo", version=1, plan=lambda _, count: [Job((), {}, name="mug/1")])
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    yield StageOutput(np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8))


@stage("words", version=1, media="json", plan=lambda _, count: [Job((), {"view": 0}, name="mug/1")])
def words(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    said = {"caption": "a mug (red)", "prompt": r"a mug \(red\)", "label": "mug"}
    yield StageOutput({**said, "negative_prompt": "(text:1.2)"})


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def inputs(run: RunContext) -> tuple[list[Artifact], list[Artifact]]:
    return photo.run(run, Nothing(), 1), words.run(run, Nothing(), 1)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> SdxlImg2Img:
    root = tmp_path_factory.mktemp("checkpoints")
    sdxl.build(root / "base")
    sdxl.build_vae(root / "vae")
    return SdxlImg2Img.load(root / "base", root / "vae", machine=CPU)


def test_a_photo_becomes_n_images(
    run: RunContext,
    inputs: tuple[list[Artifact], list[Artifact]],
    loaded: SdxlImg2Img,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, ...]] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, tuple(references), len(requests)))
        return list(loaded.compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    made = image_to_image.run(run, FEW, *inputs)
    assert calls == [(SdxlImg2Img, FEW.checkpoints, 3)]
    assert [dict(one.variant) for one in made] == [{"image": at} for at in range(3)]
    images = [run.load(one) for one in made]
    assert {image.shape for image in images} == {(128, 128, 3)}
    assert all((images[0] != other).any() for other in images[1:])
    assert {one.prompt for one in made} == {r"a mug \(red\)"}
    assert {one.metadata["negative"] for one in made} == {"(text)1.2"}
    assert image_to_image.run(run, FEW, *inputs) == made
    assert len(calls) == 1, "nothing is drawn twice"


def test_unusable_images_are_rejected_and_their_redraws_counted(
    run: RunContext,
    inputs: tuple[list[Artifact], list[Artifact]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = FEW.model_copy(update={"safety_checker": "a/b@c", "nsfw_retries": 2})
    asked: list[Any] = []

    def infer(_kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        asked.extend([references, *requests])
        return [UnsafeImage("no", one.nsfw_retries) for one in requests]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    assert image_to_image.run(run, watched, *inputs) == []
    assert asked[0] == (*FEW.checkpoints, "a/b@c")
    assert {one.reject_reason for one in run.made.values() if one.stage == "image_to_image"} == {
        "no"
    }
    assert run.counts["image_to_image"].safety_retries == 3 * 2


def test_photos_without_a_caption_have_no_images(
    inputs: tuple[list[Artifact], list[Artifact]],
) -> None:
    assert image_to_image.plan(FEW, inputs[0], []) == []


@pytest.mark.parametrize(
    ("shape", "longest", "expected"),
    [((75, 100), 128, (128, 128)), ((90, 300), 320, (128, 320)), ((700, 20), 64, (64, 64)),
     ((1024, 768), 1024, (1024, 768)), ((50, 50), 100, (128, 128))],
)  # fmt: skip
def test_photos_are_cut_to_whole_cells(
    shape: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    middle = slice(shape[0] // 2 - 1, shape[0] // 2 + 1)
    image[middle, shape[1] // 2 - 1 : shape[1] // 2 + 1] = 255
    cut = fit_to_grid(image, longest)
    assert cut.shape == (*expected, 3)
    weights = cut[..., 0].astype(float)
    rows, columns = np.indices(expected)
    centre = [(weights * axis).sum() / weights.sum() for axis in (rows, columns)]
    assert np.allclose(centre, [(side - 1) / 2 for side in expected], atol=3)


def test_a_size_that_fits_is_left_alone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    assert (fit_to_grid(image, 128) == image).all()
