"""The networks of Stable Diffusion 2 inpainting, on batches of tensors.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022;
the 9-channel checkpoint. The sampler is Euler's ancestral one (Karras et al., "Elucidating the
Design Space of Diffusion-Based Generative Models", NeurIPS 2022, and k-diffusion). The asymmetric
VAE (Zhu et al., "Designing a Better Asymmetric VQGAN for StableDiffusion", 2023) also reads the
known pixels when it decodes; its latents are those of Stable Diffusion 1 and 2.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.schedulers import new_scheduler
from models.diffusion.sd2.latents import CELL, LATENT_SCALE
from models.runtime.batching import as_tensor, device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly, read_json


class SD2Inpainting:
    """Text encoder, 9-channel UNet and VAE of one inpainting checkpoint.

    Each call reads dtype and device from the networks, so these may be cast and moved.

    Args:
        tokenizer, text_encoder, unet, vae: the checkpoint's parts. A ``vae`` of the class
            `AsymmetricAutoencoderKL` also gets the known pixels.
        schedule: the scheduler's published settings; betas, prediction type and spacing are used.
    """

    def __init__(
        self, tokenizer: Any, text_encoder: Any, unet: Any, vae: Any, schedule: dict[str, Any]
    ) -> None:
        self.tokenizer = tokenizer
        self.text_encoder, self.unet, self.vae = text_encoder, unet, vae
        self.schedule = schedule

    @classmethod
    def load(cls, root: Path, vae: Path | None, machine: Machine) -> "SD2Inpainting":
        """Load the networks of a folder in the published layout.

        ``vae`` is the folder of an asymmetric VAE; None uses the checkpoint's own.

        Raises:
            WrongCheckpointError: a folder holds no 9-channel SD 1 or 2 inpainting network, a VAE of
                other latents, or not all weights.
        """
        from diffusers import AsymmetricAutoencoderKL, AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        _check(root, vae or root / "vae")
        text_encoder = load_strictly(CLIPTextModel, root / "text_encoder", machine)
        unet = load_strictly(UNet2DConditionModel, root / "unet", machine)
        decoder = (
            load_strictly(AsymmetricAutoencoderKL, vae, machine)
            if vae
            else load_strictly(AutoencoderKL, root / "vae", machine)
        )
        tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
        schedule = read_json(root / "scheduler" / "scheduler_config.json")
        return cls(tokenizer, text_encoder, unet, decoder, schedule)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks."""
        return self.text_encoder, self.unet, self.vae

    @property
    def decodes_with_pixels(self) -> bool:
        """Whether the decoder also reads the known pixels."""
        return type(self.vae).__name__ == "AsymmetricAutoencoderKL"

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The text encoder's last hidden states after its final norm, [B, 77, D].

        Text beyond 77 tokens is cut off.
        """
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        embedded: Tensor = self.text_encoder(tokens.input_ids.to(device_of(self.text_encoder)))[0]
        return embedded

    def encode(self, scenes: Sequence[Pixels]) -> Tensor:
        """The modes of the latents [B, 4, h, w] of uint8 scenes of one size, in whole cells."""
        return self._encode(as_tensor(scenes, self.vae) * 2 - 1)

    def encode_empty(self, cells: tuple[int, int]) -> Tensor:
        """The latents [1, 4, h, w] of a mid-grey canvas of (rows, columns) cells."""
        shape = (1, 3, cells[0] * CELL, cells[1] * CELL)
        empty = torch.zeros(shape, dtype=dtype_of(self.vae), device=device_of(self.vae))
        return self._encode(empty)

    def denoise(
        self,
        texts: Tensor,
        masks: Tensor,
        masked: Tensor,
        seeds: Sequence[int],
        steps: int,
        scales: Sequence[float],
    ) -> Tensor:
        """The latents of whole canvases, [B, 4, h, w] float32.

        Args:
            texts: [1 or 2, B, 77, D]; with guidance the negative texts come first.
            masks: [B, 1, h, w], 1 where the canvas is generated.
            masked: [B, 4, h, w], the latents of the known parts.
            seeds: one per image, for its first latents and its noise in every step.
            steps: of the sampler.
            scales: guidance scale per image (Ho and Salimans 2022); unused without negative texts.
        """
        like = next(self.unet.parameters())
        parts = len(texts)
        context = texts.flatten(0, 1).to(like)
        known = torch.cat([masks, masked], dim=1).to(like).repeat(parts, 1, 1, 1)
        weights = torch.tensor(scales, device=like.device).view(-1, 1, 1, 1)
        scheduler = new_scheduler("EulerAncestralDiscreteScheduler", self.schedule)
        scheduler.set_timesteps(steps, device=like.device)
        generators = [generator(seed) for seed in seeds]
        # The sampler works in float32, so its noise does not depend on the networks' dtype.
        like_latents = torch.empty(0, device=like.device)
        z: Tensor = noise_like(masked.shape[1:], generators, like_latents)
        z = z * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            noisy = scheduler.scale_model_input(z, t).to(like).repeat(parts, 1, 1, 1)
            inputs = torch.cat([noisy, known], dim=1)
            predicted = self.unet(inputs, t, encoder_hidden_states=context, return_dict=False)[0]
            without, *rest = predicted.float().chunk(parts)
            guided = without + weights * (rest[0] - without) if rest else without
            z = scheduler.step(guided, t, z, generator=generators, return_dict=False)[0]
        return z

    def decode(self, latents: Tensor, known: Sequence[Pixels], masks: Tensor) -> Tensor:
        """The images of latents, [B, 3, H, W] in about 0..1.

        Args:
            latents: [B, 4, h, w].
            known: uint8 HxWx3 per image in whole cells, the known pixels on their canvas. Only the
                asymmetric VAE reads them and the masks.
            masks: [B, 1, h, w], 1 where the canvas is generated.
        """
        z = latents.to(next(self.vae.parameters())) / LATENT_SCALE
        condition: dict[str, Tensor] = {}
        if self.decodes_with_pixels:
            # The decoder matches its features by shape, so it needs as many images as latents.
            mask = masks.to(z).repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)
            condition = {"image": as_tensor(known, self.vae) * 2 - 1, "mask": mask}
        images: Tensor = self.vae.decode(z, return_dict=False, **condition)[0]
        return images / 2 + 0.5

    def _encode(self, images: Tensor) -> Tensor:
        modes: Tensor = self.vae.encode(images).latent_dist.mode()
        return modes * LATENT_SCALE


def _check(root: Path, vae_folder: Path) -> None:
    unet, vae = read_json(root / "unet" / "config.json"), read_json(vae_folder / "config.json")
    if (root / "text_encoder_2").is_dir() or unet.get("addition_embed_type") == "text_time":
        raise WrongCheckpointError(
            f"{root}: an SDXL checkpoint; outpainting needs latents of Stable Diffusion 1 or 2, "
            "as the asymmetric VAE does; give stable-diffusion-2-inpainting"
        )
    if unet.get("in_channels") != 9:
        raise WrongCheckpointError(
            f"{root}/unet: {unet.get('in_channels')} input channels where inpainting has 9; "
            "give an inpainting checkpoint"
        )
    scale = vae.get("scaling_factor", LATENT_SCALE)
    blocks = vae.get("down_block_out_channels", vae.get("block_out_channels", ()))
    if abs(scale - LATENT_SCALE) > 1e-4 or 2 ** (len(blocks) - 1) != CELL:
        raise WrongCheckpointError(
            f"{vae_folder}: latents scaled by {scale}, {2 ** (len(blocks) - 1)} px each; "
            f"give a VAE of Stable Diffusion 1 or 2 ({LATENT_SCALE}, {CELL} px)"
        )
