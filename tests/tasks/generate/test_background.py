"""The background stage by SDXL: where the object goes, its prompts, its keys, its results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.records import Artifact, Record
from models.diffusion.safety import UnsafeImage
from models.diffusion.sdxl.depth_controlnet import SdxlBackground
from models.runtime.hardware import Machine
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.background import background
from tasks.settings.background import BackgroundComposite, BackgroundSdxl, FewStep
from tasks.store.store import open_store
from tests.checkpoints import sdxl

pytest.importorskip("compel")
CPU = Machine(torch.device("cpu"), torch.float32)
WORDS = {
    "caption": "a C++ book (red)",
    "prompt": r"a C\+\+ book \(red\)",
    "negative_prompt": "blurry, (text:1.3)",
    "label": "old book (A+)",
}
SDXL = BackgroundSdxl(n_backgrounds=2, width=70, height=100, steps=2, scenes=("on grass",))


class Nothing(Record):
    pass


def one_job(_parameters: Record, _count: int) -> list[Job]:
    return [Job((), {"view": 0}, name="book/1")]


@stage("cut", version=1, plan=one_job)
def cut_out(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    image = np.zeros((60, 80, 4), np.uint8)
    image[10:50, 20:60] = (200, 30, 40, 255)
    yield StageOutput(image)


@stage("masked", version=1, plan=one_job)
def depth(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    near = np.zeros((60, 80), np.uint16)
    near[10:50, 20:60] = np.linspace(20000, 65535, 40).astype(np.uint16)
    yield StageOutput(near)


@stage("words", version=1, media="json", plan=one_job)
def words(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    yield StageOutput(WORDS)


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def inputs(run: RunContext) -> list[list[Artifact]]:
    return [*(one.run(run, Nothing(), 1) for one in (cut_out, depth, words)), []]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> SdxlBackground:
    root = tmp_path_factory.mktemp("checkpoints")
    sdxl.build(root / "base")
    sdxl.build_controlnet(root / "controlnet")
    sdxl.build_vae(root / "vae")
    folders = (root / "base", root / "controlnet", root / "vae")
    return SdxlBackground.load(*folders, machine=CPU)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, loaded: SdxlBackground) -> list[tuple[Any, ...]]:
    """Every call of `ask`, answered by the tiny networks."""
    calls: list[tuple[Any, ...]] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, tuple(references), list(requests)))
        return list(loaded.compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def test_scenes_have_the_object_where_the_depth_was(
    run: RunContext, inputs: list[list[Artifact]], asked: list[tuple[Any, ...]]
) -> None:
    made = background.run(run, SDXL, *inputs)
    assert [dict(one.variant) for one in made] == [
        {"view": 0, "background": 0},
        {"view": 0, "background": 1},
    ]
    ((kind, references, requests),) = asked
    assert (kind, references) == (SdxlBackground, SDXL.checkpoints)
    for artifact, request in zip(made, requests, strict=True):
        image = run.load(artifact)
        assert image.shape == (100, 70, 4)
        assert request.depth.shape == (request.height, request.width) == (128, 128)
        near = request.depth[14:114, 29:99]
        assert request.depth.sum(dtype=np.int64) == near.sum(dtype=np.int64)
        assert ((near > 0) == (image[..., 3] > 0)).mean() > 0.99
        assert 0.05 < (image[..., 3] > 127).mean() < 0.9
        assert request.seed == artifact.seed
    assert not (requests[0].depth == requests[1].depth).all(), "each copy has its own place"
    assert not (run.load(made[0])[..., :3] == run.load(made[1])[..., :3]).all()


def test_the_prompt_is_written_down(
    run: RunContext, inputs: list[list[Artifact]], asked: list[tuple[Any, ...]]
) -> None:
    weights = {
        "caption_weight": 1.2,
        "suffix_weight": 0.9,
        "negative_weight": 1.1,
        "n_backgrounds": 1,
    }
    recipe = SDXL.model_copy(update={**weights, "suffix": "(sharp:1.3) photo"})
    (made,) = background.run(run, recipe, *inputs)
    request = asked[0][2][0]
    expected = r"(a C\+\+ book \(red\))1.2 (on grass, (sharp)1.3 photo)0.9"
    assert made.prompt == request.prompt == expected
    assert made.metadata == {
        "scene": "on grass",
        "negative": "(blurry, (text)1.3)1.1",
        "plain_prompt": "a C++ book (red) on grass, sharp photo",
        "retries": 0,
    }
    assert request.negative == made.metadata["negative"]


def test_the_recipe_s_own_part_of_the_prompt_names_the_class(
    run: RunContext, inputs: list[list[Artifact]], asked: list[tuple[Any, ...]]
) -> None:
    scenes = ("in a (dark:1.3) room",)
    own = {"prompt": "{a}{label}, (centred:1.2)", "prompt_weight": 1.1, "scenes": scenes}
    (made,) = background.run(run, SDXL.model_copy(update={"n_backgrounds": 1, **own}), *inputs)
    assert made.prompt == (
        r"a C\+\+ book \(red\) (an old book \(A\+\), (centred)1.2)1.1 "
        "in a (dark)1.3 room, highly detailed photo"
    )
    plain = "a C++ book (red) an old book (A+), centred in a dark room, highly detailed photo"
    assert made.metadata["plain_prompt"] == plain
    assert made.metadata["scene"] == "in a dark room"


def test_unusable_scenes_are_rejected_and_their_redraws_counted(
    run: RunContext, inputs: list[list[Artifact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(_kind: type, _references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        return [UnsafeImage("flagged as not safe for work 4 times", 3) for _ in requests]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    assert background.run(run, SDXL, *inputs) == []
    reasons = {one.reject_reason for one in run.made.values() if one.stage == "background"}
    assert reasons == {"flagged as not safe for work 4 times"}
    assert run.counts["background"].safety_retries == 6


def test_the_object_can_be_pasted_back(
    run: RunContext, inputs: list[list[Artifact]], asked: list[tuple[Any, ...]]
) -> None:
    pasted = background.run(run, SDXL.model_copy(update={"keep_original_pixels": True}), *inputs)
    for one in pasted:
        image = run.load(one)
        alpha = image[..., 3]
        inside = np.pad(np.zeros_like(alpha[2:-2, 2:-2]), 2)
        inside = np.lib.stride_tricks.sliding_window_view(np.pad(alpha, 3), (7, 7)).min((2, 3))
        assert (inside == 255).sum() > 50
        assert (np.abs(image[..., :3][inside == 255].astype(int) - (200, 30, 40)) <= 1).all()


def test_the_number_of_backgrounds_is_no_part_of_a_key() -> None:
    fields = {"model", "width", "height", "scenes", "top_view_probability", "ranges"}
    assert set(background.key_params(BackgroundComposite())) == fields
    assert "n_backgrounds" not in background.key_params(SDXL)


def test_checkpoints_are_those_in_use() -> None:
    assert SDXL.checkpoints == (SDXL.checkpoint, SDXL.controlnet, SDXL.vae)
    more = SDXL.model_copy(update={"few_step": FewStep(), "safety_checker": "a/b@c"})
    assert more.checkpoints == (*SDXL.checkpoints, "ByteDance/SDXL-Lightning", "a/b@c")


def test_few_steps_ask_for_no_guidance(
    run: RunContext, inputs: list[list[Artifact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def infer(_kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        asked.extend([*references, *requests])
        return [UnsafeImage("not drawn")] * len(requests)

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    background.run(run, SDXL.model_copy(update={"few_step": FewStep(steps=8)}), *inputs)
    request = asked[-1]
    assert (request.steps, request.few_step, request.guidance_scale) == (8, True, 0.0)
    assert asked[3] == "ByteDance/SDXL-Lightning"
