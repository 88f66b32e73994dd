"""A tiny random ViTMatte in the layout of ``hustvl/vitmatte-small-composition-1k``."""

import json
from pathlib import Path

import torch


def build(folder: Path) -> None:
    """Random weights, seeded."""
    from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

    backbone = VitDetConfig(
        num_channels=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=64,
        patch_size=16,
        window_size=2,
        window_block_indices=[0],
        residual_block_indices=[],
        use_relative_position_embeddings=True,
        out_features=["stage2"],
    )
    settings = VitMatteConfig(
        backbone_config=backbone,
        hidden_size=32,
        convstream_hidden_sizes=[8, 16, 32],
        fusion_hidden_sizes=[32, 16, 16, 8],
    )
    with torch.random.fork_rng():
        torch.manual_seed(13)
        network = VitMatteForImageMatting(settings)
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                strength = 5.0 if "decoder" in name else 1.5
                fan_in = parameter[0].numel()
                torch.nn.init.normal_(parameter, std=strength * fan_in**-0.5)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "VitMatteImageProcessor",
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
                "do_pad": True,
                "size_divisibility": 32,
            }
        )
    )
