"""A tiny random Zero123++ repository in the published layout, as v1.1 and v1.2 have it.

Its references are 64 px for the VAE and 32 px for CLIP. Sheets of 128x192 px (views of 64 px) take
a fraction of a second. What it paints are random blobs on grey, so that views have objects.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.clip import text_config, write_tokenizer

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
WIDTH = 32
TOKENS = 77


def build(folder: Path) -> None:
    """Write the repository; the same bytes every time."""
    with torch.random.fork_rng():
        torch.manual_seed(123)
        _build_diffusion(folder)
        _build_encoders(folder)
    write_tokenizer(folder / "tokenizer", pad_token="!")
    _build_processors(folder)
    ramp = [round(0.003 + 1.2 * token / (TOKENS - 1), 6) for token in range(TOKENS)]
    parts = {
        **{"vae": ["diffusers", "AutoencoderKL"], "unet": ["diffusers", "UNet2DConditionModel"]},
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vision_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "feature_extractor_clip": ["transformers", "CLIPImageProcessor"],
        "feature_extractor_vae": ["transformers", "CLIPImageProcessor"],
    }
    index = {"_class_name": "Zero123PlusPipeline", "ramping_coefficients": ramp, **parts}
    _write(folder / "model_index.json", index)


def _build_diffusion(folder: Path) -> None:
    from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=[2, 4],
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
    )
    unet.save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )
    _paint_blobs(vae.decoder)
    vae.save_pretrained(folder / "vae")
    EulerAncestralDiscreteScheduler(
        **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"},
        **{"prediction_type": "v_prediction", "steps_offset": 1, "timestep_spacing": "linspace"},
    ).save_pretrained(folder / "scheduler")


def _paint_blobs(decoder: Any) -> None:
    """Only what stands out in the last layer's features shows, so that most of a view is grey."""
    decoder.conv_norm_out.weight.data.fill_(10.0)
    decoder.conv_norm_out.bias.data.fill_(-22.0)
    decoder.conv_out.bias.data.zero_()


def _build_encoders(folder: Path) -> None:
    from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    text = CLIPTextModel(text_config(hidden_act="gelu", hidden_size=WIDTH))
    text.save_pretrained(folder / "text_encoder")
    _as_published(folder / "text_encoder" / "model.safetensors", "text_model.")
    vision = CLIPVisionConfig(
        **{"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "image_size": 32, "patch_size": 8, "projection_dim": WIDTH},
        hidden_act="gelu",
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "vision_encoder")


def _as_published(file: Path, prefix: str) -> None:
    """Keys with the prefix that published files have and transformers 5 leaves out."""
    weights = load_file(file)
    named = {key if key.startswith(prefix) else prefix + key: one for key, one in weights.items()}
    save_file(named, file, metadata={"format": "pt"})


def _build_processors(folder: Path) -> None:
    shared = {
        **{"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True},
        **{"do_convert_rgb": True, "rescale_factor": 1 / 255},
        "image_processor_type": "CLIPImageProcessor",
    }
    for name, side, resample, mean, std in (
        ("clip", 32, 3, CLIP_MEAN, CLIP_STD),
        ("vae", 64, 2, 0.5, 0.8),
    ):
        size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        look = {"resample": resample, "image_mean": mean, "image_std": std}
        file = folder / f"feature_extractor_{name}" / "preprocessor_config.json"
        _write(file, {**shared, **size, **look})


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
