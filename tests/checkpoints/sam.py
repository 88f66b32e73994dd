"""A tiny random Segment Anything: SAM as ``facebook/sam-vit-base``, and SAM 2."""

import json
from pathlib import Path

import torch
from torch import nn

SIDE = 128


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
