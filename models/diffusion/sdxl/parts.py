"""The parts of Stable Diffusion XL, and what all its uses share.

Parts are loaded from local folders in the published layout. Source: Podell et al., "SDXL: Improving
Latent Diffusion Models for High-Resolution Image Synthesis", ICLR 2024.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from models.diffusion.schedulers import SAMPLERS, Sampler, new_scheduler
from models.diffusion.sdxl.text import SdxlText
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_shared, load_strictly


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


def sdxl_scheduler(name: Sampler, schedule: dict[str, Any], *, trailing: bool = False) -> Any:
    """A new sampler over the checkpoint's noise schedule; none of them draws noise of its own.

    UniPC (Zhao et al., NeurIPS 2023), DPM-Solver++ (Lu et al., 2022), Euler (Karras et al., NeurIPS
    2022), DDIM (Song et al., ICLR 2021).

    Args:
        name: which one.
        schedule: the checkpoint's ``scheduler_config.json``.
        trailing: start at the noisiest step, as distilled networks need it (Lin et al., "Common
            Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024).
    """
    changed = {"timestep_spacing": "trailing"} if trailing else {}
    return new_scheduler(SAMPLERS[name], schedule, **changed)
