"""Zero123++ against the numbers of the official program, with its recorded noise."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import models.views.zero123plus.network as zero123plus
from models.runtime.batching import as_uint8
from models.views.zero123plus.background import on_grey
from models.views.zero123plus.network import Pictures, Zero123Plus, Zero123PlusRequest
from models.views.zero123plus.sampler import levels
from tests.conftest import SHARED
from tests.models.views.zero123plus.test_network import assert_close, on_cpu, processors

CASES = ("cfg4_trailing_rgb", "nocfg_linspace_rgba")


class Golden:
    """What the official program computed in one case."""

    def __init__(self, folder: Path, case: str) -> None:
        self.about: dict[str, Any] = json.loads((folder / f"{case}.json").read_text())
        self.tensors = load_file(folder / f"{case}.safetensors")
        self.request = Zero123PlusRequest(
            self.tensors["input_image_u8"].numpy(),
            seed=0,
            steps=self.about["steps"],
            guidance_scale=self.about["guidance"],
            spacing=self.about["spacing"] or "linspace",
            width=self.about["width"],
            height=self.about["height"],
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def noise(self) -> "RecordedNoise":
        """Its draws in order; those of the grey reference and of the picture come together."""
        guided = self.about["guidance"] > 1
        draws = [self[f"draw.{place:02d}"] for place in range(len(self.about["draw_order"]))]
        encodings, rest = draws[: 1 + guided], draws[1 + guided :]
        own, grey = [encodings[0], rest[0]], encodings[1:]
        for references, step in zip(rest[1::2], rest[2::2], strict=True):
            own += [references[-1:], step]
            grey += [references[:1]] if guided else []
        return RecordedNoise(own, grey)


class RecordedNoise:
    def __init__(self, own: list[Tensor], grey: list[Tensor]) -> None:
        self.left, self.left_grey = own, grey

    def own(self, shape: Sequence[int]) -> Tensor:
        assert tuple(self.left[0].shape[1:]) == tuple(shape)
        return self.left.pop(0)

    def grey(self, shape: Sequence[int]) -> Tensor:
        assert tuple(self.left_grey[0].shape[1:]) == tuple(shape)
        return self.left_grey.pop(0)


@pytest.fixture(scope="module")
def golden_folder() -> Path:
    folder = SHARED / "golden" / "zero123pp"
    if not folder.is_dir():
        pytest.skip("needs ../shared/golden/zero123pp: numbers of the official program")
    return folder


@pytest.fixture(scope="module")
def official(golden_folder: Path) -> Zero123Plus:
    return Zero123Plus.load(golden_folder / "tiny_repo", machine=on_cpu())


@pytest.fixture(params=CASES)
def golden(request: pytest.FixtureRequest, golden_folder: Path) -> Golden:
    return Golden(golden_folder, request.param)


def assert_same_picture(sheet: Tensor, theirs: Tensor) -> None:
    difference = np.abs(as_uint8(sheet).astype(int) - theirs[0].numpy())
    assert difference.max() <= 2
    assert difference.mean() <= 0.05


def test_pictures_are_prepared_as_the_official_program_does(
    official: Zero123Plus, golden: Golden
) -> None:
    image = golden["input_image_u8"].numpy()
    assert np.array_equal(on_grey(image), golden["input_rgb_u8"].numpy())
    pictures = official.pictures([image])
    assert torch.equal(pictures.clip, golden["pixel_values_clip_pilbackend"])
    assert torch.equal(pictures.vae, golden["pixel_values_vae_pilbackend"])


def test_every_step_is_the_official_programs(
    official: Zero123Plus, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    kept: dict[str, Tensor] = {}
    after: list[Tensor] = []
    unet, _, _, vision = official.modules

    def watch(module: Any, given: Any, named: Any, result: Any) -> None:
        if not calls:
            kept.update((name, one.kept[0]) for name, one in processors(module).items())
        calls.append((given[0], given[1], named["encoder_hidden_states"], result.sample))

    def step(*given: Any) -> Tensor:
        after.append(ancestral_step(*given))
        return after[-1]

    ancestral_step = zero123plus.ancestral_step
    monkeypatch.setattr(zero123plus, "ancestral_step", step)
    seen: list[Tensor] = []
    hooks = [
        unet.register_forward_hook(watch, with_kwargs=True),
        vision.register_forward_hook(lambda _m, _g, result: seen.append(result.image_embeds)),
    ]
    noise = golden.noise()
    pictures = Pictures(golden["pixel_values_clip"], golden["pixel_values_vae"])
    sheets = official.sheets(pictures, golden.request, noise)
    for hook in hooks:
        hook.remove()

    assert not noise.left
    assert not noise.left_grey
    assert_close(seen[0], golden["image_embeds"], 1e-5)
    for place in range(golden.request.steps):
        write, read = calls[2 * place : 2 * place + 2]
        assert_close(write[0], golden[f"step{place}.noisy_cond_lat"], 1e-4)
        assert_close(write[2], golden["encoder_hidden_states"], 1e-5)
        assert_close(read[0], golden[f"step{place}.model_input"], 2e-4)
        assert_close(read[1].reshape(1), golden[f"step{place}.t"], 0)
        assert_close(read[2], golden["encoder_hidden_states"], 1e-5)
        assert_close(read[3], golden[f"step{place}.model_output"], 2e-4)
        assert_close(after[place], golden[f"step{place}.latents_after"], 1e-3)
    for name in golden.about["ref_layers"]:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        keys = layer.to_k(golden[f"ref0.{name}"]).unflatten(-1, (layer.heads, -1))
        assert_close(kept[name], keys.transpose(1, 2), 1e-4)
    assert_close(after[-1] / 0.75 + 0.22, golden["latents_unscaled"], 1e-3)
    assert_close(sheets * 2 - 1, golden["decoded_unscaled"], 1e-3)
    assert_same_picture(sheets[0], golden["output_u8"])


def test_from_the_image_to_the_sheet_it_is_the_official_program(
    official: Zero123Plus, golden: Golden
) -> None:
    pictures = official.pictures([golden.request.image])
    sheets = official.sheets(pictures, golden.request, golden.noise())
    # The recorded chain saw CLIP pixels resized by torchvision, ours are PIL's: one grey level.
    assert_same_picture(sheets[0], golden["output_u8"])


def test_levels_are_the_official_programs(golden: Golden, golden_folder: Path) -> None:
    file = golden_folder / "tiny_repo" / "scheduler" / "scheduler_config.json"
    steps = levels(json.loads(file.read_text()), golden.request.steps, golden.request.spacing)
    assert [step.time for step in steps] == golden["timesteps"].tolist()
    sigmas = [step.sigma for step in steps] + [steps[-1].next_sigma]
    assert sigmas == pytest.approx(golden["sigmas"].tolist(), rel=1e-6)
