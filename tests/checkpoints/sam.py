"""A tiny random Segment Anything: SAM as ``facebook/sam-vit-base``, and SAM 2."""

import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

SIDE = 128
PROMPT_MATRIX = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def build(folder: Path) -> None:
    """Random weights, seeded; input 128 px, three masks of 64 px."""
    from transformers import SamConfig, SamModel

    settings = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "mlp_ratio": 2.0,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
            "initializer_range": 0.1,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 8},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = SamModel(settings)
        _enliven(network)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "SamImageProcessor",
                "size": {"longest_edge": SIDE},
                "pad_size": {"height": SIDE, "width": SIDE},
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            }
        )
    )


def build_file(folder: Path) -> None:
    """The weights of `build` in the authors' file, with the authors' keys."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as other:
        build(Path(other))
        tensors = load_file(Path(other) / "model.safetensors")
    torch.save(
        {authors_key(key): tensor for key, tensor in tensors.items()},
        folder / "sam_vit_b_01ec64.pth",
    )


def authors_network() -> Any:
    """An untrained network of the authors' package, of the size of `build`."""
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    encoder = ImageEncoderViT(
        img_size=SIDE,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        out_chans=32,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1,),
    )
    prompts = PromptEncoder(32, (16, 16), (SIDE, SIDE), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
    decoder = MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_hidden_dim=32)
    return Sam(encoder, prompts, decoder)


def authors_key(key: str) -> str:
    """The authors' key of a weight of transformers' ``SamModel``."""
    for pattern, replacement in AUTHORS_KEYS:
        key = re.sub(pattern, replacement, key)
    return key


# Of transformers' keys; each rule reads what the rule before has left.
AUTHORS_KEYS = (
    (r"^(shared_image|prompt_encoder.shared)_embedding.positional_embedding$", PROMPT_MATRIX),
    (r"^vision_encoder.", "image_encoder."),
    (r"patch_embed.projection", "patch_embed.proj"),
    (r"^image_encoder.layers", "image_encoder.blocks"),
    (r"neck.conv1", "neck.0"),
    (r"neck.layer_norm1", "neck.1"),
    (r"neck.conv2", "neck.2"),
    (r"neck.layer_norm2", "neck.3"),
    (r"mask_embed.conv1", "mask_downscaling.0"),
    (r"mask_embed.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed.conv2", "mask_downscaling.3"),
    (r"mask_embed.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed.conv3", "mask_downscaling.6"),
    (r"(?<!not_a_)point_embed\.", "point_embeddings."),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"layer_norm(\d)", r"norm\1"),
    (r"(iou_prediction_head|mlps\.\d)\.layers\.0", r"\1.layers.1"),
    (r"(iou_prediction_head|mlps\.\d)\.proj_in", r"\1.layers.0"),
    (r"(iou_prediction_head|mlps\.\d)\.proj_out", r"\1.layers.2"),
)


def build_2(folder: Path) -> None:
    """SAM 2 as it is published: with the weights of its memory for videos; input 128 px."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE, SIDE],
        "window_positional_embedding_background_size": [4, 4],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    settings = Sam2VideoConfig(
        vision_config={
            "backbone_config": backbone,
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        image_size=SIDE,
        memory_attention_num_layers=1,
        memory_attention_hidden_size=32,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(17)
        network = Sam2VideoModel(settings)
        _enliven(network)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "Sam2ImageProcessorFast",
                "size": {"height": SIDE, "width": SIDE},
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            }
        )
    )


def _enliven(network: nn.Module) -> None:
    """Weights under which masks have an inside and an outside, and hang on photo and prompt."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            strength = 6.0 if "output_hypernetworks_mlps" in name else 1.2
            fan_in = parameter[0].numel()
            nn.init.normal_(parameter, std=strength * fan_in**-0.5)
