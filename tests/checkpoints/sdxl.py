"""Tiny SDXL checkpoints with random weights, in the layouts in which they are published."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints.clip import text_config, write_tokenizer

WIDTHS = (32, 40)
PROJECTED = 24
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0.dev0",
    "force_zeros_for_empty_prompt": True,
    "add_watermarker": None,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def build(folder: Path, variant: str | None = None, channels: int = 4) -> None:
    """stabilityai/stable-diffusion-xl-base-1.0; with ``variant="fp16"`` only half-precision files,
    named ``*.fp16.safetensors``. SDXL inpainting has nine ``channels``.
    """
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    second = {"hidden_act": "gelu", "projection_dim": PROJECTED, "num_hidden_layers": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(30)
        networks = {
            "unet": _unet(channels),
            "vae": _vae(force_upcast=True),
            "text_encoder": CLIPTextModel(text_config(hidden_size=WIDTHS[0])),
            "text_encoder_2": CLIPTextModelWithProjection(
                text_config(hidden_size=WIDTHS[1], intermediate_size=80, **second)
            ),
        }
    for name, network in networks.items():
        _save(network, folder / name, variant)
    write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2", pad_token="!")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps(INDEX))


def build_inpainting(folder: Path) -> None:
    """diffusers/stable-diffusion-xl-1.0-inpainting-0.1."""
    build(folder, channels=9)


def build_controlnet(folder: Path, variant: str | None = None) -> None:
    """diffusers/controlnet-depth-sdxl-1.0-small, with layers that are not zero as a fresh one's."""
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(31)
        network = ControlNetModel(**_blocks(), conditioning_embedding_out_channels=(8, 8, 16, 16))
        for name, parameter in network.named_parameters():
            if "controlnet_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    _save(network, folder, variant)


def build_vae(folder: Path) -> None:
    """madebyollin/sdxl-vae-fp16-fix: the VAE that decodes in half precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(32)
        vae = _vae(force_upcast=False)
    _save(vae, folder, None)


def build_lightning(folder: Path, steps: tuple[int, ...] = (4,)) -> None:
    """ByteDance/SDXL-Lightning: the U-Net's bare weights in half precision, a file per steps."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for count in steps:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(330 + count)
            weights = {name: one.half() for name, one in _unet().state_dict().items()}
        save_file(weights, folder / f"sdxl_lightning_{count}step_unet.safetensors")


def build_safety_checker(folder: Path, threshold: float = 2.0) -> None:
    """CompVis/stable-diffusion-safety-checker. Similarities are -1 to 1, so a ``threshold`` of 2
    flags no image and one of -2 flags all.
    """
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    narrow = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "projection_dim": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(34)
        network = StableDiffusionSafetyChecker(
            CLIPConfig(
                vision_config={**narrow, **heads, "image_size": 32, "patch_size": 16},
                text_config={**narrow, **heads},
                projection_dim=8,
            )
        )
        for embeds in (network.concept_embeds, network.special_care_embeds):
            torch.nn.init.normal_(embeds)
        torch.nn.init.constant_(network.concept_embeds_weights, threshold)
        torch.nn.init.constant_(network.special_care_embeds_weights, 2.0)
    _save(network, folder, None)
    side = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessor(**side).save_pretrained(folder)


def _unet(channels: int = 4) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **_blocks() | {"in_channels": channels},
        sample_size=128,
        out_channels=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def _blocks() -> dict[str, Any]:
    return {
        "in_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1),
        "cross_attention_dim": sum(WIDTHS),
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "norm_num_groups": 16,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + PROJECTED,
    }


def _vae(force_upcast: bool) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=1024,
        scaling_factor=0.13025,
        force_upcast=force_upcast,
    )


def _save(network: Any, folder: Path, variant: str | None) -> None:
    """As published; file names are put right by hand, since transformers names variants its way."""
    folder.mkdir(parents=True, exist_ok=True)
    network.half() if variant else network.float()
    network.save_pretrained(folder, safe_serialization=True)
    if variant:
        for path in folder.glob("*.safetensors"):
            path.rename(path.with_name(f"{path.stem}.{variant}.safetensors"))
