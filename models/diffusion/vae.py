"""Decode latents with a VAE, within the memory of one device."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from models.runtime.batching import dtype_of, in_float32

# The decoder needs ten times the memory of a denoising step, so it gets few images at a time.
DECODED_AT_ONCE = 4


def decode(vae: Any, latents: Tensor, *, overflows: bool = True) -> list[Tensor]:
    """Images [3, H, W] in 0..1 (not clipped) of latents [B, 4, H / 8, W / 8], a few at a time.

    Args:
        vae: an `AutoencoderKL`.
        latents: as its U-Net makes them.
        overflows: use float32 where the VAE's settings ask for it.
    """
    images: list[Tensor] = []
    with without_overflow(vae) if overflows else contextlib.nullcontext():
        for part in torch.split(latents, DECODED_AT_ONCE):
            images += vae.decode(part.to(dtype_of(vae)) / vae.config.scaling_factor).sample
    return [image / 2 + 0.5 for image in images]


def without_overflow(vae: Any) -> AbstractContextManager[None]:
    """A context with the VAE in float32 if its settings say that it overflows in float16."""
    overflows = dtype_of(vae) is torch.float16 and vae.config.force_upcast
    return in_float32([vae]) if overflows else contextlib.nullcontext()
