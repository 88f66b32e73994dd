"""DreamBooth: tune the U-Net so that a rare word in the prompt names one object.

Sources: Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
Generation", CVPR 2023; Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser, Progress, ignore_progress
from models.diffusion.finetuning.loop import (
    Schedule,
    photo_of,
    random_of,
    repeatable,
    train_weights,
)

UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
# The linear layers of attention.
LORA_LAYERS = ["to_k", "to_q", "to_v", "to_out.0"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is learned, and what must not change.

    Args:
        photos: uint8 RGB of any size, 1 or more, of the object.
        prompt: describes them with the rare word, such as "a photo of sks dog".
        prior_images: images of the object's kind, drawn with ``prior_prompt`` before the training;
            empty: the network may forget how others of the kind look.
        prior_prompt: describes the prior images, such as "a photo of dog".
        prior_weight: of their loss.
    """

    photos: Sequence[Pixels]
    prompt: str
    prior_images: Sequence[Pixels] = ()
    prior_prompt: str = ""
    prior_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TunedUnet:
    """The file of the tuned weights, and the loss of every step."""

    file: Path
    losses: list[float]


def tune_unet(
    denoiser: Denoiser,
    subject: Subject,
    *,
    rank: int | None,
    size: int,
    schedule: Schedule,
    seed: int,
    folder: Path,
    progress: Progress = ignore_progress,
) -> TunedUnet:
    """Train all weights of the U-Net, or a LoRA of its attention layers.

    The file is one that diffusers reads: the U-Net's weights in float16, which go with the
    checkpoint's ``unet/config.json``, or a LoRA for ``load_lora_weights``. The text encoders stay
    as they are.

    Args:
        denoiser: the networks; they are as before on return.
        subject: photos and prompts.
        rank: of the LoRA; None: all weights of the U-Net.
        size: side of the photos in the training, px; a multiple of 64.
        schedule: steps and learning rate.
        seed: 0 .. 2**63 - 1.
        folder: of this training alone; holds its state and its result.
        progress: called after each step with all losses so far and the networks.
    """
    with repeatable(seed):
        unet = _trainable_unet(denoiser, rank)
        networks = replace(denoiser, unet=unet)
        weights = [weight for weight in unet.parameters() if weight.requires_grad]
        loss_of = _loss(networks, subject, size, seed)
        losses = train_weights(
            weights, loss_of, schedule, folder, lambda so_far: progress(so_far, networks)
        )
        if rank is None:
            file = folder / UNET_WEIGHTS
            save_file(_in_half_precision(unet), file, metadata={"format": "pt"})
        else:
            file = folder / LORA_WEIGHTS
            _save_lora(unet, folder, is_sdxl=denoiser.is_sdxl)
    return TunedUnet(file=file, losses=losses)


def _loss(denoiser: Denoiser, subject: Subject, size: int, seed: int) -> Callable[[int], Tensor]:
    """The loss of a photo, plus that of a prior image where there are some."""
    photos = denoiser.encode(subject.photos, size)
    text = _embed(denoiser, subject.prompt)
    has_prior = len(subject.prior_images) > 0
    priors = denoiser.encode(subject.prior_images, size) if has_prior else None
    prior_text = _embed(denoiser, subject.prior_prompt) if has_prior else None

    def loss_of(draw: int) -> Tensor:
        random = random_of(seed, draw)
        latents = photos.sample(photo_of(seed, draw, len(subject.photos)), random)
        loss = denoiser.loss(latents, text, random).mean()
        if priors is None or prior_text is None:
            return loss
        # Another seed: their order does not depend on the number of photos.
        latents = priors.sample(photo_of(seed + 1, draw, len(subject.prior_images)), random)
        prior = denoiser.loss(latents, prior_text, random).mean()
        return loss + subject.prior_weight * prior

    return loss_of


@torch.no_grad()
def _embed(denoiser: Denoiser, prompt: str) -> tuple[Tensor, Tensor | None]:
    return denoiser.embed([prompt])


def _trainable_unet(denoiser: Denoiser, rank: int | None) -> Any:
    """A copy of the U-Net whose weights, or those of its LoRA alone, can be trained."""
    unet = copy.deepcopy(denoiser.unet)
    if rank is None:
        unet.requires_grad_(True)
    else:
        from peft import LoraConfig

        unet.add_adapter(
            LoraConfig(
                r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LORA_LAYERS
            )
        )
    return unet


def _in_half_precision(unet: Any) -> dict[str, Tensor]:
    """Weights as checkpoints are published; those of SDXL in float32 are too large for S3."""
    return {name: tensor.half().cpu().contiguous() for name, tensor in unet.state_dict().items()}


def _save_lora(unet: Any, folder: Path, *, is_sdxl: bool) -> None:
    import diffusers
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    name = "StableDiffusionXLPipeline" if is_sdxl else "StableDiffusionPipeline"
    getattr(diffusers, name).save_lora_weights(folder, unet_lora_layers=layers)
