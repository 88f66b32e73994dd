"""Zero123++ compared with the official program, with its recorded noise."""

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
from models.views.zero123plus.background import paste_on_grey
from models.views.zero123plus.network import References, Zero123Plus, Zero123PlusRequest
from models.views.zero123plus.sampler import sampler_steps
from tests.conftest import SHARED
from tests.models.views.zero123plus.test_network import assert_close, on_cpu, self_attention_layers

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
        """Return its draws in order; it drew those of the grey and the image reference together."""
        is_guided = self.about["guidance"] > 1
        draws = [self[f"draw.{index:02d}"] for index in range(len(self.about["draw_order"]))]
        encodings, rest = draws[: 1 + is_guided], draws[1 + is_guided :]
        per_image, shared = [encodings[0], rest[0]], encodings[1:]
        for references, step in zip(rest[1::2], rest[2::2], strict=True):
            per_image += [references[-1:], step]
            shared += [references[:1]] if is_guided else []
        return RecordedNoise(per_image, shared)


class RecordedNoise:
    def __init__(self, per_image: list[Tensor], shared: list[Tensor]) -> None:
        self.unused, self.unused_shared = per_image, shared

    def per_image(self, shape: Sequence[int]) -> Tensor:
        assert tuple(self.unused[0].shape[1:]) == tuple(shape)
        return self.unused.pop(0)

    def shared(self, shape: Sequence[int]) -> Tensor:
        assert tuple(self.unused_shared[0].shape[1:]) == tuple(shape)
        return self.unused_shared.pop(0)


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


def assert_same_image(sheet: Tensor, expected: Tensor) -> None:
    difference = np.abs(as_uint8(sheet).astype(int) - expected[0].numpy())
    assert difference.max() <= 2
    assert difference.mean() <= 0.05


def test_prepares_images_as_the_official_program_does(
    official: Zero123Plus, golden: Golden
) -> None:
    image = golden["input_image_u8"].numpy()
    assert np.array_equal(paste_on_grey(image), golden["input_rgb_u8"].numpy())
    references = official.prepare([image])
    assert torch.equal(references.clip, golden["pixel_values_clip_pilbackend"])
    assert torch.equal(references.vae, golden["pixel_values_vae_pilbackend"])


def test_every_step_matches_the_official_program(
    official: Zero123Plus, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    stored: dict[str, Tensor] = {}
    after: list[Tensor] = []
    unet, _, _, vision = official.modules

    def record_call(module: Any, args: Any, kwargs: Any, result: Any) -> None:
        if not calls:
            stored.update(
                (name, layer.stored[0]) for name, layer in self_attention_layers(module).items()
            )
        calls.append((args[0], args[1], kwargs["encoder_hidden_states"], result.sample))

    def record_step(*args: Any) -> Tensor:
        after.append(ancestral_step(*args))
        return after[-1]

    ancestral_step = zero123plus.ancestral_step
    monkeypatch.setattr(zero123plus, "ancestral_step", record_step)
    embeddings: list[Tensor] = []
    hooks = [
        unet.register_forward_hook(record_call, with_kwargs=True),
        vision.register_forward_hook(
            lambda _m, _args, result: embeddings.append(result.image_embeds)
        ),
    ]
    noise = golden.noise()
    references = References(golden["pixel_values_clip"], golden["pixel_values_vae"])
    sheets = official.sample(references, golden.request, noise)
    for hook in hooks:
        hook.remove()

    assert not noise.unused
    assert not noise.unused_shared
    assert_close(embeddings[0], golden["image_embeds"], 1e-5)
    for index in range(golden.request.steps):
        write, read = calls[2 * index : 2 * index + 2]
        assert_close(write[0], golden[f"step{index}.noisy_cond_lat"], 1e-4)
        assert_close(write[2], golden["encoder_hidden_states"], 1e-5)
        assert_close(read[0], golden[f"step{index}.model_input"], 2e-4)
        assert_close(read[1].reshape(1), golden[f"step{index}.t"], 0)
        assert_close(read[2], golden["encoder_hidden_states"], 1e-5)
        assert_close(read[3], golden[f"step{index}.model_output"], 2e-4)
        assert_close(after[index], golden[f"step{index}.latents_after"], 1e-3)
    for name in golden.about["ref_layers"]:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        keys = layer.to_k(golden[f"ref0.{name}"]).unflatten(-1, (layer.heads, -1))
        assert_close(stored[name], keys.transpose(1, 2), 1e-4)
    assert_close(after[-1] / 0.75 + 0.22, golden["latents_unscaled"], 1e-3)
    assert_close(sheets * 2 - 1, golden["decoded_unscaled"], 1e-3)
    assert_same_image(sheets[0], golden["output_u8"])


def test_the_sheet_matches_the_official_program(official: Zero123Plus, golden: Golden) -> None:
    references = official.prepare([golden.request.image])
    sheets = official.sample(references, golden.request, golden.noise())
    # The official program resized by torchvision, this one by PIL: one grey level of difference.
    assert_same_image(sheets[0], golden["output_u8"])


def test_noise_levels_match_the_official_program(golden: Golden, golden_folder: Path) -> None:
    file = golden_folder / "tiny_repo" / "scheduler" / "scheduler_config.json"
    steps = sampler_steps(
        json.loads(file.read_text()), golden.request.steps, golden.request.spacing
    )
    assert [step.time for step in steps] == golden["timesteps"].tolist()
    sigmas = [step.sigma for step in steps] + [steps[-1].next_sigma]
    assert sigmas == pytest.approx(golden["sigmas"].tolist(), rel=1e-6)
