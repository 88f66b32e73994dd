"""DPT, tiny: the layout of ``Intel/dpt-large`` or, as hybrid, ``Intel/dpt-hybrid-midas``."""

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 64
# What Intel's files lack: the first fusion layer never runs this unit.
LACKING = "neck.fusion_stage.layers.0.residual_layer1."


def build(folder: Path, *, hybrid: bool = False) -> None:
    """Random weights, seeded, with the old preprocessor config that names `DPTFeatureExtractor`."""
    from transformers import DPTForDepthEstimation

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DPTForDepthEstimation(_config(hybrid)).eval()
        _enliven(network)
    weights = {
        name: one for name, one in network.state_dict().items() if not name.startswith(LACKING)
    }
    network.save_pretrained(folder, state_dict=weights)
    settings = {
        **{
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "DPTFeatureExtractor",
        },
        **{"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3, "size": SIDE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def _config(hybrid: bool) -> Any:
    from transformers import DPTConfig

    common = {
        **{"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4},
        **{"intermediate_size": 64, "image_size": SIDE, "patch_size": 16},
        **{"backbone_out_indices": [0, 1, 2, 3], "fusion_hidden_size": 16},
    }
    if not hybrid:
        return DPTConfig(neck_hidden_sizes=[8, 8, 16, 16], **common)
    backbone = {
        **{"model_type": "bit", "global_padding": "same", "layer_type": "bottleneck"},
        **{"depths": [1, 1, 1], "hidden_sizes": [16, 32, 64], "embedding_size": 8},
        **{"num_groups": 4, "out_features": ["stage1", "stage2", "stage3"]},
        **{"embedding_dynamic_padding": True},
    }
    return DPTConfig(
        is_hybrid=True,
        neck_hidden_sizes=[16, 32, 16, 16],
        backbone_featmap_shape=[1, 64, 4, 4],
        neck_ignore_stages=[0, 1],
        backbone_config=backbone,
        **common,
    )


def _enliven(network: Any) -> None:
    """Weights of a size at which the depth differs between images and all over one image."""
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
        if name.endswith("head.head.4.bias"):
            torch.nn.init.constant_(weight, 3.0)
