"""Files of learned weights for tiny networks, in the layouts that trainings write."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from models.diffusion.finetuning.denoiser import Denoiser
from models.diffusion.finetuning.dreambooth import Subject, tune_unet
from models.diffusion.finetuning.learned import Learned, LearnedKind
from models.diffusion.finetuning.loop import Schedule
from models.diffusion.finetuning.textual_inversion import SDXL_KEYS

WORD = "<funny-ret>"


def write_word(file: Path, denoiser: Denoiser, seed: int) -> Learned:
    """A word with a random embedding for each text encoder."""
    random = torch.Generator().manual_seed(seed)
    widths = [encoder.get_input_embeddings().embedding_dim for encoder in denoiser.text_encoders]
    keys = SDXL_KEYS if denoiser.is_sdxl else (WORD,)
    save_file(
        {
            key: torch.randn(width, generator=random)
            for key, width in zip(keys, widths, strict=True)
        },
        file,
    )
    return Learned("word", file, WORD)


def tune(folder: Path, denoiser: Denoiser, kind: LearnedKind) -> Learned:
    """A U-Net or a LoRA after one large step."""
    photo = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    tuned = tune_unet(
        replace(denoiser),
        Subject(photos=[photo], prompt="a photo of sks cup"),
        rank=4 if kind == "lora" else None,
        size=64,
        schedule=Schedule(steps=2, learning_rate=0.02),
        seed=3,
        folder=folder,
    )
    return Learned(kind, tuned.file)
