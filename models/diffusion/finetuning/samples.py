"""Images that networks draw while they are trained, so that a person sees what they learn."""

from typing import Any

import numpy as np
import torch

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser
from models.diffusion.generator import without_device_hooks
from models.diffusion.schedulers import SAMPLERS, new_scheduler
from models.diffusion.vae import decode
from models.runtime.batching import as_uint8, device_of, generator

STEPS, GUIDANCE = 25, 7.5


@torch.no_grad()
def draw_samples(denoiser: Denoiser, prompt: str, *, count: int, size: int, seed: int) -> Pixels:
    """Images of a prompt side by side, uint8 RGB, ``size`` x ``count * size``.

    DDIM makes each in 25 steps, from noise that depends on the seed alone. So images of two steps
    of a training differ by what was learned between them.

    Args:
        denoiser: the networks.
        prompt: plain words.
        count: images, 1 or more.
        size: side of an image, px; a multiple of 64.
        seed: of the first image, 0 .. 2**63 - 1; the others have the next ones.
    """
    pipeline = _pipeline(denoiser)
    device = device_of(denoiser.unet)
    images = []
    for number in range(count):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            latents = pipeline(
                **_texts(denoiser, prompt),
                height=size,
                width=size,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=generator((seed + number) % 2**63),
                output_type="latent",
            ).images
        images.append(as_uint8(decode(denoiser.vae, latents.float())[0]))
    return np.concatenate(images, axis=1)


def _pipeline(denoiser: Denoiser) -> Any:
    """A pipeline of diffusers around the networks as they are."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kind = StableDiffusionXLPipeline if denoiser.is_sdxl else StableDiffusionPipeline
    parts: dict[str, Any] = {
        "vae": denoiser.vae,
        "unet": denoiser.unet,
        "scheduler": new_scheduler(SAMPLERS["ddim"], denoiser.noise.config),
        "tokenizer": denoiser.tokenizers[0],
        "text_encoder": denoiser.text_encoders[0],
    }
    if denoiser.is_sdxl:
        parts |= {
            "tokenizer_2": denoiser.tokenizers[1],
            "text_encoder_2": denoiser.text_encoders[1],
            "add_watermarker": False,
        }
    else:
        parts |= {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
    pipeline = without_device_hooks(kind)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _texts(denoiser: Denoiser, prompt: str) -> dict[str, Any]:
    """The embeddings of the prompt and of the empty one, by the arguments of a pipeline."""
    (hidden, pooled), (empty, empty_pooled) = denoiser.embed([prompt]), denoiser.embed([""])
    texts: dict[str, Any] = {"prompt_embeds": hidden, "negative_prompt_embeds": empty}
    if denoiser.is_sdxl:
        texts |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": empty_pooled}
    return texts
