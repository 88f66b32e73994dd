"""The parts of Stable Diffusion XL, from local folders in the published layout, and what all its
uses share (Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image
Synthesis", ICLR 2024).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.diffusion.schedulers import fresh
from models.diffusion.sdxl.text import SdxlText
from models.runtime.batching import device_of, dtype_of, in_float32
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_shared, load_strictly

Scheduler = Literal["unipc", "dpm++", "euler", "ddim"]
GRID = 64
# The decoder needs ten times the memory of a denoising step, so it gets few images at a time.
DECODED_AT_ONCE = 4


@dataclass
class SdxlParts:
    """What every use of SDXL needs: text encoders, U-Net, VAE, and the scheduler's settings."""

    text: SdxlText
    tokenizers: tuple[Any, Any]
    unet: Any
    vae: Any
    schedule: dict[str, Any]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks."""
        return *self.text.modules, self.unet, self.vae

    @property
    def components(self) -> dict[str, Any]:
        """As the pipelines of diffusers take them, the scheduler being one for the moment."""
        return {
            "tokenizer": self.tokenizers[0],
            "tokenizer_2": self.tokenizers[1],
            "text_encoder": self.text.modules[0],
            "text_encoder_2": self.text.modules[1],
            "unet": self.unet,
            "vae": self.vae,
            "scheduler": scheduler("euler", self.schedule),
        }


def load_sdxl(
    base: Path, vae: Path | None, machine: Machine, *, own_unet: bool = False
) -> SdxlParts:
    """SDXL's parts on the machine's device and in its dtype; nothing is fetched, no code is run.

    Networks are those that other uses of the same folders on this machine have, if it keeps them.

    Args:
        base: folder in the layout of stabilityai/stable-diffusion-xl-base-1.0.
        vae: folder of a VAE that takes the place of the base's own, which overflows in float16.
        machine: where they go.
        own_unet: the U-Net is nobody else's, and may be filled with other weights.

    Raises:
        WrongCheckpointError: a part is missing or damaged.
    """
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    text_1 = load_shared(CLIPTextModel, base / "text_encoder", machine)
    text_2 = load_shared(CLIPTextModelWithProjection, base / "text_encoder_2", machine)
    load_unet = load_strictly if own_unet else load_shared
    unet = load_unet(UNet2DConditionModel, base / "unet", machine)
    decoder = load_shared(AutoencoderKL, vae or base / "vae", machine)
    if unet.config.addition_embed_type != "text_time":
        raise WrongCheckpointError(f"{base}: its U-Net is not one of SDXL; give an SDXL checkpoint")
    for part in ("tokenizer", "tokenizer_2", "scheduler"):
        if not (base / part).is_dir():
            raise WrongCheckpointError(f"{base}: no {part}/; fetch the checkpoint again")
    tokenizers = tuple(
        CLIPTokenizer.from_pretrained(base / part, local_files_only=True)
        for part in ("tokenizer", "tokenizer_2")
    )
    return SdxlParts(
        SdxlText(tokenizers[0], tokenizers[1], text_1, text_2),
        (tokenizers[0], tokenizers[1]),
        unet,
        decoder,
        dict(EulerDiscreteScheduler.load_config(base / "scheduler", local_files_only=True)),
    )


def scheduler(name: Scheduler, schedule: dict[str, Any], *, trailing: bool = False) -> Any:
    """A fresh sampler over the checkpoint's noise schedule; none of them draws noise of its own.

    UniPC (Zhao et al., NeurIPS 2023), DPM-Solver++ (Lu et al., 2022), Euler (Karras et al., NeurIPS
    2022), DDIM (Song et al., ICLR 2021).

    Args:
        name: which.
        schedule: the checkpoint's ``scheduler_config.json``.
        trailing: start at the noisiest step, as distilled networks need it (Lin et al., "Common
            Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024).
    """
    kinds = {
        "unipc": "UniPCMultistepScheduler",
        "dpm++": "DPMSolverMultistepScheduler",
        "euler": "EulerDiscreteScheduler",
        "ddim": "DDIMScheduler",
    }
    changed = {"timestep_spacing": "trailing"} if trailing else {}
    return fresh(kinds[name], schedule, **changed)


def quick(pipeline: Any) -> Any:
    """A class of pipelines that runs where its U-Net is, instead of searching all modules of all
    its networks in each call for hooks that move them: there are none."""

    class Quick(pipeline):  # type: ignore[misc]  # a class of diffusers
        @property
        def _execution_device(self) -> torch.device:
            return device_of(self.unet)

        def maybe_free_model_hooks(self) -> None:
            pass

    return Quick


def decode(vae: Any, latents: Tensor) -> list[Tensor]:
    """Images [3, H, W] in 0..1 (not clipped) of latents [B, 4, H / 8, W / 8], a few at a time.

    SDXL's own VAE overflows in float16; where its settings say so, it decodes in float32.
    """
    overflows = dtype_of(vae) is torch.float16 and vae.config.force_upcast
    images: list[Tensor] = []
    for part in torch.split(latents, DECODED_AT_ONCE):
        if overflows:
            with in_float32([vae]):
                images += vae.decode(part.float() / vae.config.scaling_factor).sample
        else:
            images += vae.decode(part.to(dtype_of(vae)) / vae.config.scaling_factor).sample
    return [image / 2 + 0.5 for image in images]


def embeddings(
    parts: SdxlParts, prompts: Sequence[str], negatives: Sequence[str], blocks: int, guided: bool
) -> dict[str, Tensor]:
    """The embeddings of prompts, and of negative ones where there is guidance, as arguments of a
    pipeline."""
    device, dtype = device_of(parts.unet), dtype_of(parts.unet)
    tokens, pooled = parts.text.batch(list(prompts), blocks)
    made = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
    if guided:
        tokens, pooled = parts.text.batch(list(negatives), blocks)
        made |= {"negative_prompt_embeds": tokens, "negative_pooled_prompt_embeds": pooled}
    return {name: one.to(device, dtype) for name, one in made.items()}


def groups(keys: Sequence[Any]) -> Iterator[list[int]]:
    """Positions of equal keys, in the order in which the keys come up."""
    together: dict[Any, list[int]] = {}
    for position, key in enumerate(keys):
        together.setdefault(key, []).append(position)
    yield from together.values()


def check_size(width: int, height: int) -> None:
    """Refuse a size that the pipelines would cut down without a word.

    Raises:
        ValueError: a side is no multiple of 64.
    """
    if min(width, height) < GRID or width % GRID or height % GRID:
        raise ValueError(f"size {width}x{height}: give multiples of {GRID} px")
