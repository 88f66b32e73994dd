"""The parts of Stable Diffusion XL, and what all its uses share.

Parts are loaded from local folders in the published layout. Source: Podell et al., "SDXL: Improving
Latent Diffusion Models for High-Resolution Image Synthesis", ICLR 2024.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.schedulers import new_scheduler
from models.diffusion.sdxl.text import SdxlText
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    compute_in_groups,
    device_of,
    dtype_of,
    in_float32,
    run_batched,
)
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_shared, load_strictly

Scheduler = Literal["unipc", "dpm++", "euler", "ddim"]
GRID = 64
# The decoder needs ten times the memory of a denoising step, so it gets few images at a time.
DECODED_AT_ONCE = 4


class SdxlRequest(Protocol):
    """What the requests of all uses of SDXL have."""

    @property
    def prompt(self) -> str:
        """In Compel's syntax."""

    @property
    def negative(self) -> str:
        """The negative prompt, in Compel's syntax."""

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What the images of a batch have in common."""


Request = TypeVar("Request", bound=SdxlRequest)


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
        """Arguments of diffusers' pipelines; each run replaces the scheduler."""
        return {
            "tokenizer": self.tokenizers[0],
            "tokenizer_2": self.tokenizers[1],
            "text_encoder": self.text.modules[0],
            "text_encoder_2": self.text.modules[1],
            "unet": self.unet,
            "vae": self.vae,
            "scheduler": sdxl_scheduler("euler", self.schedule),
        }


def load_sdxl(
    base: Path, vae: Path | None, machine: Machine, *, own_unet: bool = False
) -> SdxlParts:
    """Load SDXL's parts in the machine's dtype onto its device; no download, no remote code.

    Networks are shared with other uses of the same folders if the machine keeps them.

    Args:
        base: folder in the layout of stabilityai/stable-diffusion-xl-base-1.0.
        vae: folder of a VAE that replaces the base's own, which overflows in float16.
        machine: gives device and dtype.
        own_unet: do not share the U-Net, because its weights will be replaced.

    Raises:
        WrongCheckpointError: a part is missing or corrupt.
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


def sdxl_scheduler(name: Scheduler, schedule: dict[str, Any], *, trailing: bool = False) -> Any:
    """A new sampler over the checkpoint's noise schedule; none of them draws noise of its own.

    UniPC (Zhao et al., NeurIPS 2023), DPM-Solver++ (Lu et al., 2022), Euler (Karras et al., NeurIPS
    2022), DDIM (Song et al., ICLR 2021).

    Args:
        name: which one.
        schedule: the checkpoint's ``scheduler_config.json``.
        trailing: start at the noisiest step, as distilled networks need it (Lin et al., "Common
            Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024).
    """
    classes = {
        "unipc": "UniPCMultistepScheduler",
        "dpm++": "DPMSolverMultistepScheduler",
        "euler": "EulerDiscreteScheduler",
        "ddim": "DDIMScheduler",
    }
    changed = {"timestep_spacing": "trailing"} if trailing else {}
    return new_scheduler(classes[name], schedule, **changed)


def without_device_hooks(pipeline: Any) -> Any:
    """A subclass of a pipeline class that runs on its U-Net's device.

    In each call, diffusers' own searches all modules for hooks that move them; there are none here.
    """

    class WithoutDeviceHooks(pipeline):  # type: ignore[misc]  # a class of diffusers
        @property
        def _execution_device(self) -> torch.device:
            return device_of(self.unet)

        def maybe_free_model_hooks(self) -> None:
            pass

    return WithoutDeviceHooks


def generate_in_batches(
    run: Callable[[Sequence[Request]], list[Tensor]],
    requests: Sequence[Request],
    *,
    text: SdxlText,
    at_most: int,
    modules: Sequence[nn.Module],
    prepare: Callable[[Request], None] | None = None,
) -> list[Pixels | InvalidOutput]:
    """An image (uint8 RGB) per request, in order.

    Only requests with equal `batch_key` and equal text blocks share a batch, because padding a
    prompt to another's blocks would change its image.

    Args:
        run: computes images [3, H, W] in 0..1 of a batch.
        requests: what to generate.
        text: encodes the prompts.
        at_most: images per batch.
        modules: the networks that ``run`` uses.
        prepare: called with one request of each group before its batches.
    """

    def compute(_: Hashable, indices: list[int]) -> Iterator[Pixels | InvalidOutput]:
        group = [requests[index] for index in indices]
        if prepare is not None:
            prepare(group[0])
        for image in run_batched(run, group, at_most=at_most, modules=modules):
            yield image if isinstance(image, InvalidOutput) else as_uint8(image)

    keys = [(request.batch_key, count_blocks(text, request)) for request in requests]
    return compute_in_groups(keys, compute)


def count_blocks(text: SdxlText, request: SdxlRequest) -> int:
    """The number of blocks of 77 tokens that the prompts of a request need."""
    prompts = [request.prompt, *([request.negative] if request.is_guided else [])]
    return max(text.embed(prompt).blocks for prompt in prompts)


def embed_prompts(parts: SdxlParts, batch: Sequence[SdxlRequest]) -> dict[str, Tensor]:
    """The embeddings of a batch's prompts, as arguments of a pipeline.

    The requests share one `batch_key` and one `count_blocks`. With guidance the negative prompts
    are included.
    """
    device, dtype = device_of(parts.unet), dtype_of(parts.unet)
    blocks = count_blocks(parts.text, batch[0])
    tokens, pooled = parts.text.batch([request.prompt for request in batch], blocks)
    embeddings = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
    if batch[0].is_guided:
        tokens, pooled = parts.text.batch([request.negative for request in batch], blocks)
        embeddings |= {"negative_prompt_embeds": tokens, "negative_pooled_prompt_embeds": pooled}
    return {name: tensor.to(device, dtype) for name, tensor in embeddings.items()}


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


def check_size(width: int, height: int) -> None:
    """Refuse a size that the pipelines would silently crop.

    Raises:
        ValueError: a side is no multiple of 64.
    """
    if min(width, height) < GRID or width % GRID or height % GRID:
        raise ValueError(f"size {width}x{height}: give multiples of {GRID} px")
