"""Depth Anything V2, tiny: the layout of ``depth-anything/Depth-Anything-V2-Small-hf``."""

import json
from pathlib import Path

import torch

SIDE = 56


def build(folder: Path) -> None:
    """Random weights, seeded, with its preprocessor config."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    backbone = {
        **{"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 4, "mlp_ratio": 2},
        **{"num_attention_heads": 4, "image_size": SIDE, "patch_size": 14},
        **{"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, "apply_layernorm": True},
    }
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DepthAnythingForDepthEstimation(config).eval()
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
            if name.endswith("head.conv3.bias"):
                torch.nn.init.constant_(weight, 3.0)
    network.save_pretrained(folder)
    settings = {
        **{"do_normalize": True, "do_pad": False, "do_rescale": True, "do_resize": True},
        **{"ensure_multiple_of": 14, "image_processor_type": "DPTImageProcessor"},
        **{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        **{"keep_aspect_ratio": True, "resample": 3, "rescale_factor": 1 / 255},
        **{"size": {"height": SIDE, "width": SIDE}, "size_divisor": None},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
