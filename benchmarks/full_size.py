"""Builds the networks of the diffusion profile at the published sizes, without weights.

Settings that decide shapes are those of the published ``config.json`` files. The file of the small
ControlNet could not be read. Its settings here are the only plain ones in diffusers that give the
published 320 MB in half precision (160.1 M parameters).
"""

from collections.abc import Callable
from typing import Any

_CROSS, _PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
_CROSS_UP, _PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

SDXL: dict[str, Any] = {
    **{"block_out_channels": (320, 640, 1280), "layers_per_block": 2},
    **{"attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048},
    **{"use_linear_projection": True, "addition_embed_type": "text_time"},
    **{"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816},
}
SDXL_UNET: dict[str, Any] = {
    **SDXL,
    **{"sample_size": 128, "transformer_layers_per_block": (1, 2, 10)},
    "down_block_types": (_PLAIN, _CROSS, _CROSS),
    "up_block_types": (_CROSS_UP, _CROSS_UP, _PLAIN_UP),
}
CONTROLNET_SMALL: dict[str, Any] = {
    **SDXL,
    **{"down_block_types": (_PLAIN,) * 3, "transformer_layers_per_block": (0, 0, 0)},
    "conditioning_embedding_out_channels": (16, 32, 96, 256),
}
CONTROLNET_FULL: dict[str, Any] = {
    **CONTROLNET_SMALL,
    "down_block_types": (_PLAIN, _CROSS, _CROSS),
    "transformer_layers_per_block": (1, 2, 10),
}
VAE: dict[str, Any] = {
    **{"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4},
    **{"down_block_types": ("DownEncoderBlock2D",) * 4},
    **{"up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 512},
}
SDXL_VAE: dict[str, Any] = {
    **VAE,
    **{"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": False},
}
ASYMMETRIC_VAE: dict[str, Any] = {
    **{"down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_down_block": 2},
    **{"up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_up_block": 5},
    **{"down_block_out_channels": (128, 256, 512, 512), "latent_channels": 4},
    **{"up_block_out_channels": (256, 512, 1024, 1024), "norm_num_groups": 32},
}
SD2_UNET: dict[str, Any] = {
    **{"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "sample_size": 64},
    **{"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024},
    **{"use_linear_projection": True, "down_block_types": (*(_CROSS,) * 3, _PLAIN)},
    "up_block_types": (_PLAIN_UP, *(_CROSS_UP,) * 3),
}
SD15: dict[str, Any] = {
    **{"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2},
    **{"attention_head_dim": 8, "cross_attention_dim": 768},
    "down_block_types": (*(_CROSS,) * 3, _PLAIN),
}
SD15_UNET: dict[str, Any] = {
    **SD15,
    **{"sample_size": 64, "up_block_types": (_PLAIN_UP, *(_CROSS_UP,) * 3)},
}
# Text encoders have the vocabulary of the tests' tokenizer, which does not change their cost.
CLIP_LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
OPEN_CLIP_BIG = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
OPEN_CLIP_HUGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}
VISION_HUGE: dict[str, Any] = {
    **{"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32},
    **{"num_attention_heads": 16, "patch_size": 14, "image_size": 224, "projection_dim": 1024},
}
DPT_LARGE: dict[str, Any] = {
    **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
    **{"num_attention_heads": 16, "backbone_out_indices": [5, 11, 17, 23]},
    **{"neck_hidden_sizes": [256, 512, 1024, 1024], "image_size": 384, "patch_size": 16},
}
BLIP_VISION = {
    "base": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    "large": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
        "num_attention_heads": 16,
    },
}
BLIP_TEXT: dict[str, Any] = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    **{"num_attention_heads": 12, "max_position_embeddings": 512},
}
RRDB = {"num_filters": 64, "num_blocks": 23}


def _diffusers(kind: str, settings: dict[str, Any]) -> Callable[[], Any]:
    def build() -> Any:
        import diffusers

        return getattr(diffusers, kind)(**settings)

    return build


def _dpt_large() -> Any:
    from transformers import DPTConfig, DPTForDepthEstimation

    return DPTForDepthEstimation(DPTConfig(**DPT_LARGE))


def _depth_anything_small() -> Any:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    return DepthAnythingForDepthEstimation(DepthAnythingConfig())


def _blip_vision(size: str) -> Callable[[], Any]:
    def build() -> Any:
        from transformers import BlipVisionConfig
        from transformers.models.blip.modeling_blip import BlipVisionModel

        return BlipVisionModel(BlipVisionConfig(image_size=384, patch_size=16, **BLIP_VISION[size]))

    return build


def _rrdb(scale: int) -> Callable[[], Any]:
    def build() -> Any:
        from spandrel.architectures.ESRGAN import ESRGAN

        # The x2 network first halves the image, which gives four times as many channels.
        halved = {"in_nc": 12, "shuffle_factor": 2} if scale == 2 else {}
        return ESRGAN(**RRDB, scale=4, **halved)

    return build


def _isnet() -> Any:
    from models.segmentation.isnet_network import IsNet

    return IsNet()


# Functions that build a network on torch's current default device.
NETWORKS: dict[str, Callable[[], Any]] = {
    "SDXL UNet": _diffusers("UNet2DConditionModel", SDXL_UNET),
    "ControlNet small": _diffusers("ControlNetModel", CONTROLNET_SMALL),
    "ControlNet full": _diffusers("ControlNetModel", CONTROLNET_FULL),
    "SDXL VAE": _diffusers("AutoencoderKL", SDXL_VAE),
    "SD2 inpainting UNet": _diffusers("UNet2DConditionModel", {**SD2_UNET, "in_channels": 9}),
    "SD1.5 UNet": _diffusers("UNet2DConditionModel", SD15_UNET),
    "ControlNet SD1.5": _diffusers("ControlNetModel", SD15),
    "asymmetric VAE": _diffusers("AsymmetricAutoencoderKL", ASYMMETRIC_VAE),
    "Zero123++ UNet": _diffusers("UNet2DConditionModel", SD2_UNET),
    "RRDBNet x2": _rrdb(2),
    "RRDBNet x4": _rrdb(4),
    "DPT-large": _dpt_large,
    "Depth Anything V2 Small": _depth_anything_small,
    "IS-Net": _isnet,
    "BLIP vision, base": _blip_vision("base"),
    "BLIP vision, large": _blip_vision("large"),
}
