"""DreamBooth at tiny size: it learns, resumes, and plain diffusers reads its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser, load_denoiser
from models.diffusion.finetuning.dreambooth import Subject, TunedUnet, tune_unet
from models.diffusion.finetuning.loop import Schedule, random_of
from models.runtime.hardware import Machine
from tests.checkpoints import sd15, sdxl

CPU = Machine(torch.device("cpu"), torch.float32)
PROMPT = "a photo of sks cup"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    sd15.build(folder / "sd15")
    sdxl.build(folder / "sdxl")
    return folder


@pytest.fixture(scope="module")
def denoiser(root: Path) -> Denoiser:
    return load_denoiser(root / "sd15", CPU)


def images(seed: int) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (70, 90, 3), np.uint8) for _ in range(3)]


def tune(
    denoiser: Denoiser, folder: Path, rank: int | None, steps: int = 4, **fields: Any
) -> TunedUnet:
    subject = Subject(
        photos=images(3), prompt=PROMPT, prior_images=images(4), prior_prompt="a photo of cup"
    )
    schedule = Schedule(steps=steps, learning_rate=1e-3, max_norm=1.0, save_every=2)
    arguments: dict[str, Any] = {"subject": subject, "size": 64, "schedule": schedule, "seed": 9}
    return tune_unet(denoiser, rank=rank, folder=folder, **{**arguments, **fields})


def loss_of(denoiser: Denoiser, unet: Any) -> float:
    """The loss on fixed noise and times."""
    latents = denoiser.encode(images(3), 64)
    networks = Denoiser(
        denoiser.tokenizers, denoiser.text_encoders, unet, denoiser.vae, denoiser.noise
    )
    some = torch.cat([latents.sample(k % 3, random_of(0, k)) for k in range(16)])
    with torch.no_grad():
        return float(networks.loss(some, networks.embed([PROMPT] * 16), random_of(1, 0)).mean())


@pytest.mark.parametrize("rank", [None, 4])
def test_the_loss_falls_with_the_weights_in_plain_diffusers(
    root: Path, denoiser: Denoiser, tmp_path: Path, rank: int | None
) -> None:
    from diffusers import StableDiffusionPipeline

    before = loss_of(denoiser, denoiser.unet)
    file = tune(denoiser, tmp_path, rank, steps=20).file
    pipeline = StableDiffusionPipeline.from_pretrained(root / "sd15", local_files_only=True)
    if rank is None:
        pipeline.unet.load_state_dict(load_file(file))
    else:
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
    assert loss_of(denoiser, pipeline.unet) < before
    # The networks that were handed in do not change.
    assert loss_of(denoiser, denoiser.unet) == before


@pytest.mark.parametrize("rank", [None, 4])
def test_a_killed_training_ends_with_the_same_weights(
    denoiser: Denoiser, tmp_path: Path, rank: int | None
) -> None:
    def stop(losses: Sequence[float], _networks: Denoiser) -> None:
        if len(losses) == 3:
            raise KeyboardInterrupt

    whole = tune(denoiser, tmp_path / "whole", rank)
    with pytest.raises(KeyboardInterrupt):
        tune(denoiser, tmp_path / "killed", rank, progress=stop)
    resumed = tune(denoiser, tmp_path / "killed", rank)
    assert resumed.losses == whole.losses
    assert resumed.file.read_bytes() == whole.file.read_bytes()


def test_plain_diffusers_reads_a_lora_of_sdxl(root: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    file = tune(load_denoiser(root / "sdxl", CPU), tmp_path, rank=2, steps=1).file
    pipeline = StableDiffusionXLPipeline.from_pretrained(root / "sdxl", local_files_only=True)
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    assert any("lora" in name for name, _ in pipeline.unet.named_parameters())
