"""Detectors of transformers, tiny: RT-DETRv2, D-FINE and RF-DETR with the 80 classes of COCO."""

from pathlib import Path
from typing import Any

import torch

_COMMON = {
    **{"num_labels": 80, "d_model": 32, "num_queries": 12, "decoder_layers": 2},
    **{"decoder_attention_heads": 4, "decoder_ffn_dim": 32, "decoder_n_points": 2},
}
_HYBRID = {
    **_COMMON,
    **{"encoder_hidden_dim": 32, "encoder_in_channels": [16, 24, 32], "encoder_ffn_dim": 32},
    **{"encoder_attention_heads": 4, "decoder_in_channels": [32, 32, 32], "num_denoising": 8},
    **{"hidden_expansion": 0.5},
}


def build(folder: Path, name: str) -> None:
    """Random weights, seeded, of the detector that recipes call ``name``."""
    import transformers

    kind, settings = _architecture(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(transformers, kind)(settings)
    network.save_pretrained(folder)


def _architecture(name: str) -> tuple[str, Any]:
    from transformers import DFineConfig, RfDetrConfig, RTDetrV2Config

    if name == "rtdetr_v2_r18vd":
        resnet = {
            **{"model_type": "rt_detr_resnet", "embedding_size": 8, "layer_type": "basic"},
            **{"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "out_indices": [2, 3, 4]},
        }
        return "RTDetrV2ForObjectDetection", RTDetrV2Config(backbone_config=resnet, **_HYBRID)
    if name == "dfine_small":
        hgnet = {
            **{"model_type": "hgnet_v2", "embedding_size": 8, "stem_channels": [3, 8, 8]},
            **{"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "out_indices": [2, 3, 4]},
            **{"stage_in_channels": [8, 8, 16, 24], "stage_mid_channels": [8, 8, 8, 8]},
            **{"stage_out_channels": [8, 16, 24, 32], "stage_num_blocks": [1, 1, 1, 1]},
            **{"stage_numb_of_layers": [2, 2, 2, 2]},
        }
        settings = DFineConfig(backbone_config=hgnet, depth_mult=0.34, **_HYBRID)
        return "DFineForObjectDetection", settings
    dino = {
        **{"model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 3},
        **{"num_attention_heads": 4, "image_size": 64, "patch_size": 16, "num_windows": 2},
        **{"out_features": ["stage1", "stage3"], "mlp_ratio": 2},
    }
    own = {"decoder_self_attention_heads": 4, "decoder_cross_attention_heads": 4, "group_detr": 3}
    common = {k: v for k, v in _COMMON.items() if k != "decoder_attention_heads"}
    return "RfDetrForObjectDetection", RfDetrConfig(backbone_config=dino, **own, **common)
