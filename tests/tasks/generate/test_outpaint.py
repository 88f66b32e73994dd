"""The outpaint stage by SD2 inpainting: its requests, its keys, and what becomes of a result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.compositing.backgrounds.scene import procedural_background
from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import decode_runs, encode_mask
from models.data.records import Artifact, Record
from models.diffusion.safety import SafeImage, UnsafeImage
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from models.outpainting.latent_canvas import Shift
from models.outpainting.sd2 import OutpaintRequest, SD2Outpaint
from models.runtime.hardware import Machine
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.outpaint import border_prompts, outpaint, shifts_of_each
from tasks.settings.outpaint import Outpaint, OutpaintExtend, OutpaintSd2
from tasks.store.store import open_store
from tests.checkpoints import sd2_inpaint

CPU = Machine(torch.device("cpu"), torch.float32)
SIZE = (99, 120)
LABEL = "red_mug"
SD2 = OutpaintSd2(steps=2, grid_size=3, max_shift=0.15)


class Nothing(Record):
    pass


@stage("scene", version=1, plan=lambda _, count: [
    Job((), {"n": at}, name=f"red_mug/{at}") for at in range(count)
])  # fmt: skip
def scenes_of(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """Scenes with an object in the middle."""
    for item in inputs:
        pixels = procedural_background("on concrete", SIZE, item.rng()).pixels
        image = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
        image[48:72, 36:60] = (200, 30, 40, 255)
        yield StageOutput(
            image, prompt="a photo of a red mug on concrete", metadata={"scene": "on grass"}
        )


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def scenes(run: RunContext) -> list[Artifact]:
    return scenes_of.run(run, Nothing(), 2)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> SD2Outpaint:
    folder = tmp_path_factory.mktemp("checkpoints") / "sd2"
    sd2_inpaint.build(folder)
    return SD2Outpaint.load(folder, machine=CPU)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, loaded: SD2Outpaint) -> list[tuple[Any, ...]]:
    """Every call of `ask`, answered by the tiny networks."""
    calls: list[tuple[Any, ...]] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, tuple(references), list(requests)))
        return list(loaded.compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def test_shifts_of_both_models_agree_and_known_pixels_are_exact(
    run: RunContext,
    scenes: list[Artifact],
    asked: list[tuple[Any, ...]],
    loaded: SD2Outpaint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[Any] = []
    encode = loaded.networks.encode
    monkeypatch.setattr(
        loaded.networks, "encode", lambda one: encoded.append(len(one)) or encode(one)
    )
    made = outpaint.run(run, SD2, scenes, LABEL)
    assert len(made) == 18
    assert [len(requests) for _, _, requests in asked] == [16, 2], "a call per stage batch"
    assert {call[:2] for call in asked} == {(SD2Outpaint, SD2.checkpoints)}
    assert len(encoded) == 2, "each scene once, also where its shifts fall into two batches"
    offsets = grid_offsets(3, 0.15)
    for at, artifact in enumerate(made):
        scene = run.load(scenes[at // 9])
        image = run.load(artifact)
        exact = ExtendedScene(scene, 0.15, np.random.default_rng(0)).offset(*offsets[at % 9])
        moved = artifact.metadata["moved"]
        assert np.abs(np.subtract(moved, exact)).max() <= 4
        assert (artifact.metadata["dx"], artifact.metadata["dy"]) == offsets[at % 9]
        shift = Shift(SIZE, (moved[0], moved[1]))
        expected = np.zeros_like(scene)
        expected[shift.known] = scene[shift.source]
        core = expected[..., 3] > 0
        core[40:80, 40:60] = True
        np.testing.assert_array_equal(image[core], expected[core])
        np.testing.assert_array_equal(image[..., 3], expected[..., 3])
        assert artifact.prompt == "a photo of a red mug on concrete"
        assert artifact.variant["prompt"] == "an empty background on grass"
        assert artifact.metadata["retries"] == 0
        assert (artifact.metadata["seam"] == 0) == (moved == [0, 0])
    seeds = {request.seed for _, _, requests in asked for request in requests}
    assert seeds == {artifact.seed for artifact in made}
    assert len(seeds) == 18
    assert outpaint.run(run, SD2, scenes, LABEL) == made
    assert len(asked) == 2, "and nothing is computed again"


def test_an_unusable_border_is_a_rejection(
    run: RunContext, scenes: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(_kind: type, _references: Any, requests: Sequence[OutpaintRequest]) -> list[Any]:
        images = [SafeImage(one.scene) for one in requests[1:]]
        return [UnsafeImage("the network gave no finite numbers", 2), *images]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    made = outpaint.run(run, SD2, scenes[:1], LABEL)
    assert len(made) == 8
    (rejected,) = [one for one in run.made.values() if one.reject_reason]
    assert rejected.reject_reason == "the network gave no finite numbers"
    assert rejected.prompt == scenes[0].prompt
    assert run.counts["outpaint"].safety_retries == 2


def test_the_classical_model_asks_no_network_and_gives_the_same_bytes(
    run: RunContext, scenes: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.runtime.network_pool.infer", None)
    parameters = OutpaintExtend(grid_size=2)
    made = outpaint.run(run, parameters, scenes, LABEL)
    rng = np.random.default_rng(int(scenes[1].digest[:16], 16))
    extended = ExtendedScene(run.load(scenes[1]), 0.12, rng)
    for artifact, offset in zip(made[4:], grid_offsets(2, 0.12), strict=True):
        np.testing.assert_array_equal(run.load(artifact), extended.shift(*offset))


def test_every_setting_of_the_network_is_part_of_the_key(scenes: list[Artifact]) -> None:
    def key(**settings: Any) -> str:
        return outpaint.key(Job((scenes[0],), {"shift": 0}), OutpaintSd2(**settings))

    changes: list[dict[str, Any]] = [
        {"checkpoint": "a/b@1"},
        {"vae": "cross-attention/asymmetric-autoencoder-kl-x-2"},
        {"steps": 30},
        {"guidance_scale": 5.0},
        {"feather": 8},
        {"prompt_from": "caption"},
        {"prompt": "{scene}"},
        {"negative_prompt": ""},
        {"safety_checker": "CompVis/stable-diffusion-safety-checker"},
        {"nsfw_retries": 1},
    ]
    for change in changes:
        assert key(**change) != key()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("an empty background on grass", "red mug, frame, border, text, watermark, blurry")),
        ({"prompt": "photo, {scene}", "negative_prompt": ""}, ("photo, on grass", "red mug")),
        (
            {"prompt_from": "caption", "negative_prompt": "text"},
            ("a photo of a red mug on concrete", "text"),
        ),
    ],
)
def test_the_class_is_kept_out_of_the_border(
    scenes: list[Artifact], settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert border_prompts(scenes[0], LABEL, OutpaintSd2(**settings)) == expected


def test_a_border_that_follows_the_caption_gets_plain_words(scenes: list[Artifact]) -> None:
    """CLIP would read the backslashes and weights of the prompt that SDXL was given."""
    metadata = {"scene": "on grass", "plain_prompt": "a C++ mug (red) on grass"}
    weighted = {"prompt": r"(a C\+\+ mug \(red\))1.2 on grass", "metadata": metadata}
    follows = OutpaintSd2(prompt_from="caption", negative_prompt="")
    scene = scenes[0].model_copy(update=weighted)
    assert border_prompts(scene, LABEL, follows) == ("a C++ mug (red) on grass", "")


def test_only_a_network_s_key_depends_on_the_class(scenes: list[Artifact]) -> None:
    for parameters, is_same in ((OutpaintExtend(), True), (OutpaintSd2(), False)):
        keys = {
            outpaint.key(shifts_of_each(parameters, scenes[:1], label)[0], parameters)
            for label in (LABEL, "jar")
        }
        assert (len(keys) == 1) == is_same


def test_a_scene_of_unknown_place_still_has_a_prompt(scenes: list[Artifact]) -> None:
    bare = scenes[0].model_copy(update={"metadata": {}, "prompt": None})
    for source in ("scene", "caption"):
        parameters = OutpaintSd2(prompt_from=source, negative_prompt="")
        assert border_prompts(bare, LABEL, parameters) == ("an empty background", "red mug")


def test_the_asymmetric_vae_is_refused_with_sdxl() -> None:
    both = OutpaintSd2(vae="cross-attention/asymmetric-autoencoder-kl-x-2")
    assert both.checkpoints == (both.checkpoint, both.vae)
    watched = OutpaintSd2(safety_checker="CompVis/stable-diffusion-safety-checker")
    assert watched.checkpoints == (watched.checkpoint, watched.safety_checker)
    for settings in ({}, {"vae": both.vae}):
        with pytest.raises(ValueError, match="is of SDXL; sd2-inpaint and the asymmetric VAE"):
            OutpaintSd2(
                checkpoint="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
                **settings,
            )


@pytest.mark.parametrize("parameters", [OutpaintExtend(grid_size=3, max_shift=0.15), SD2])
@pytest.mark.usefixtures("asked")
def test_objects_move_exactly_with_the_pixels(
    parameters: Outpaint, run: RunContext, scenes: list[Artifact]
) -> None:
    mask = run.load(scenes[0])[..., 3] > 0
    objects = [
        {"label": "mug", "box": [36, 48, 24, 24], "mask": encode_mask(mask)},
        {"label": "jar", "box": [40, 50, 10, 12], "mask": None},
    ]
    metadata = {**scenes[0].metadata, "objects": objects}
    scene = scenes[0].model_copy(update={"metadata": metadata})
    offsets = set()
    for artifact in outpaint.run(run, parameters, [scene], LABEL):
        moved = run.load(artifact)[..., 3] > 0
        mug, jar = artifact.metadata["objects"]
        assert np.array_equal(decode_runs(mug["mask"], *moved.shape), moved)
        x, y, *_ = box_of_mask(moved) or ()
        assert mug == {"label": "mug", "box": [x, y, 24, 24], "mask": mug["mask"]}
        assert jar == {"label": "jar", "box": [40 + x - 36, 50 + y - 48, 10, 12], "mask": None}
        offsets.add((x, y))
    assert len(offsets) == 9
