"""Stable Diffusion 2 inpainting and the asymmetric VAE, as small as their layout allows."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints.clip import text_config, write_tokenizer

# The published scheduler file of stable-diffusion-2-inpainting: PNDM, and noise is predicted.
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.10.0.dev0",
    **{"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085},
    **{"clip_sample": False, "num_train_timesteps": 1000, "prediction_type": "epsilon"},
    **{"set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1},
    "trained_betas": None,
}
INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionInpaintPipeline",
    "_diffusers_version": "0.10.0.dev0",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def build(
    folder: Path, channels: int = 9, seed: int = 20, pipeline: str = INDEX["_class_name"]
) -> None:
    """The inpainting checkpoint: 9-channel UNet, CLIP text encoder, plain VAE of 8 px a cell.

    Stable Diffusion 1.5 has four channels and another pipeline.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=channels,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            norm_num_groups=16,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=512,
        )
        text_encoder = CLIPTextModel(text_config(hidden_act="gelu", pad_token_id=1))
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer", pad_token="!")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps({**INDEX, "_class_name": pipeline}))


def build_asymmetric_vae(folder: Path) -> None:
    """The asymmetric VAE: its decoder is wider and also gets the known pixels."""
    from diffusers import AsymmetricAutoencoderKL

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(21)
        vae = AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            down_block_out_channels=(8, 8, 16, 16),
            layers_per_down_block=1,
            up_block_types=("UpDecoderBlock2D",) * 4,
            up_block_out_channels=(8, 16, 32, 32),
            layers_per_up_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=256,
        )
    vae.save_pretrained(folder)
