"""Textual Inversion at tiny size: it learns, resumes, and plain diffusers reads its file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser, load_denoiser
from models.diffusion.finetuning.loop import Schedule, random_of
from models.diffusion.finetuning.textual_inversion import LearnedWord, learn_word
from models.runtime.hardware import Machine
from tests.checkpoints import sd15, sdxl

CPU = Machine(torch.device("cpu"), torch.float32)
WORD = "<funny-ret>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    sd15.build(folder / "sd15")
    sdxl.build(folder / "sdxl")
    return folder


@pytest.fixture(scope="module")
def denoiser(root: Path) -> Denoiser:
    return load_denoiser(root / "sd15", CPU)


def photos() -> list[Pixels]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (70, 90, 3), np.uint8) for _ in range(3)]


def learn(denoiser: Denoiser, folder: Path, steps: int = 6, **fields: Any) -> LearnedWord:
    schedule = Schedule(steps=steps, learning_rate=0.05, accumulation=2, save_every=2)
    arguments: dict[str, Any] = {"placeholder": WORD, "initializer": "cup", "size": 64, "seed": 9}
    return learn_word(
        denoiser, photos(), schedule=schedule, folder=folder, **{**arguments, **fields}
    )


def test_the_loss_falls_on_fixed_noise(root: Path, denoiser: Denoiser, tmp_path: Path) -> None:
    """Equal noise and times, with plain diffusers' word before and after the training."""
    latents = denoiser.encode(photos(), 64)

    def loss(steps: int) -> float:
        from diffusers import StableDiffusionPipeline

        learned = learn(denoiser, tmp_path / str(steps), steps)
        assert len(learned.losses) == steps
        pipeline = StableDiffusionPipeline.from_pretrained(root / "sd15", local_files_only=True)
        pipeline.load_textual_inversion(learned.file.parent, weight_name=learned.file.name)
        networks = Denoiser(
            (pipeline.tokenizer,),
            (pipeline.text_encoder,),
            denoiser.unet,
            denoiser.vae,
            denoiser.noise,
        )
        with torch.no_grad():
            text = networks.embed([f"a photo of a {WORD}"] * 16)
            some = torch.cat([latents.sample(k % 3, random_of(0, k)) for k in range(16)])
            return float(networks.loss(some, text, random_of(1, 0)).mean())

    assert loss(20) < loss(0)


def test_a_killed_training_ends_with_the_same_weights(denoiser: Denoiser, tmp_path: Path) -> None:
    def stop(losses: Sequence[float], _networks: Denoiser) -> None:
        if len(losses) == 3:
            raise KeyboardInterrupt

    whole = learn(denoiser, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(denoiser, tmp_path / "killed", progress=stop)
    steps: list[int] = []
    resumed = learn(
        denoiser, tmp_path / "killed", progress=lambda losses, _: steps.append(len(losses))
    )
    assert steps == [3, 4, 5, 6]
    assert resumed.losses == whole.losses
    assert resumed.file.read_bytes() == whole.file.read_bytes()
    assert learn(denoiser, tmp_path / "other", seed=10).losses != whole.losses


def test_sdxl_learns_a_word_for_both_text_encoders(root: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    learned = load_file(learn(load_denoiser(root / "sdxl", CPU), tmp_path, steps=1).file)
    pipeline = StableDiffusionXLPipeline.from_pretrained(root / "sdxl", local_files_only=True)
    for key, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        table = encoder.get_input_embeddings()
        first = table.weight[tokenizer.encode("cup", add_special_tokens=False)[0]]
        assert not torch.equal(learned[key], first)
        pipeline.load_textual_inversion(
            learned[key], token=WORD, text_encoder=encoder, tokenizer=tokenizer
        )
        row = encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(WORD)]
        assert torch.equal(row, learned[key])


def test_a_known_word_can_not_be_the_placeholder(denoiser: Denoiser, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the tokenizer has this word"):
        learn(denoiser, tmp_path, placeholder="<|endoftext|>")
