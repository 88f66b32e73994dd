"""The parts of Stable Diffusion 1.5, and what all its uses share.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.diffusion.inpaint.request import INPAINTING_CHANNELS
from models.diffusion.schedulers import SAMPLERS, Sampler, new_scheduler
from models.diffusion.sd2.latents import LATENT_SCALE
from models.runtime.batching import device_of
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_shared, read_json

LATENT_CHANNELS = 4
# By the input channels of a U-Net: its use, a checkpoint for it, and the model of SDXL for it.
_USES = {
    LATENT_CHANNELS: ("text to image", "stable-diffusion-v1-5", "sdxl"),
    INPAINTING_CHANNELS: ("inpainting", "stable-diffusion-inpainting", "sdxl-inpaint"),
}


@dataclass
class Sd15Parts:
    """Text encoder with its tokenizer, U-Net, VAE, and the scheduler's settings."""

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    schedule: dict[str, Any]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks."""
        return self.text_encoder, self.unet, self.vae

    @property
    def components(self) -> dict[str, Any]:
        """Arguments of diffusers' pipelines; each run replaces the scheduler."""
        return {
            "tokenizer": self.tokenizer,
            "text_encoder": self.text_encoder,
            "unet": self.unet,
            "vae": self.vae,
            "scheduler": sd15_scheduler("pndm", self.schedule),
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The text encoder's last hidden states after its final norm, [B, 77, D].

        Each prompt is encoded alone, so that its embedding does not depend on the others. Text
        beyond 77 tokens is cut off. Brackets and signs are text.
        """
        unique = {prompt: self._encode(prompt) for prompt in dict.fromkeys(prompts)}
        return torch.stack([unique[prompt] for prompt in prompts])

    def _encode(self, prompt: str) -> Tensor:
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        ids = tokens.input_ids.to(device_of(self.text_encoder))
        embedded: Tensor = self.text_encoder(ids)[0][0]
        return embedded


def load_sd15(root: Path, machine: Machine, channels: int = LATENT_CHANNELS) -> Sd15Parts:
    """Load the parts in the machine's dtype onto its device; no download, no remote code.

    Networks are shared with other uses of the same folder if the machine keeps them.

    Args:
        root: folder in the layout of stable-diffusion-v1-5/stable-diffusion-v1-5.
        machine: gives device and dtype.
        channels: input channels of the U-Net: 4 for text to image, 9 for inpainting.

    Raises:
        WrongCheckpointError: a part is missing, or the folder holds another kind of network.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    _check(root, channels)
    text_encoder = load_shared(CLIPTextModel, root / "text_encoder", machine)
    unet = load_shared(UNet2DConditionModel, root / "unet", machine)
    vae = load_shared(AutoencoderKL, root / "vae", machine)
    if not (root / "tokenizer").is_dir():
        raise WrongCheckpointError(f"{root}: no tokenizer/; fetch the checkpoint again")
    tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
    schedule = read_json(root / "scheduler" / "scheduler_config.json")
    return Sd15Parts(tokenizer, text_encoder, unet, vae, schedule)


def sd15_scheduler(name: Sampler, schedule: dict[str, Any]) -> Any:
    """A new sampler over the checkpoint's noise schedule; none of them draws noise of its own."""
    return new_scheduler(SAMPLERS[name], schedule)


def _check(root: Path, needed: int) -> None:
    unet, vae = read_json(root / "unet" / "config.json"), read_json(root / "vae" / "config.json")
    use, example, other = _USES[needed]
    if unet.get("addition_embed_type") == "text_time":
        raise WrongCheckpointError(
            f"{root}: an SDXL checkpoint; use model {other}, or give {example}"
        )
    channels = unet.get("in_channels")
    if channels != needed:
        raise WrongCheckpointError(
            f"{root}/unet: {channels} input channels where {use} has {needed}; give {example}"
        )
    scale = vae.get("scaling_factor", LATENT_SCALE)
    if abs(scale - LATENT_SCALE) > 1e-4:
        raise WrongCheckpointError(
            f"{root}/vae: latents scaled by {scale} where Stable Diffusion 1 has {LATENT_SCALE}; "
            f"give {example}"
        )
