"""CLIP, tiny: the layout of ``openai/clip-vit-base-patch32``."""

import json
from pathlib import Path

import torch

from tests.checkpoints.clip import text_config, write_tokenizer

SIDE = 32
VALUES = 24


def build(folder: Path) -> None:
    """Random weights, seeded, whose features differ from image to image.

    As in the published file, the weights hold the numbers of the positions, which today's class no
    longer has.
    """
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    vision = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "image_size": SIDE, "patch_size": 16},
    }
    config = CLIPConfig(
        text_config=text_config().to_dict(), vision_config=vision, projection_dim=VALUES
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CLIPModel(config).eval()
        for weight in network.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
    network.save_pretrained(folder)
    numbers = {"text_model": 77, "vision_model": (SIDE // 16) ** 2 + 1}
    weights = {name: one.contiguous() for name, one in network.state_dict().items()}
    for part, count in numbers.items():
        weights[f"{part}.embeddings.position_ids"] = torch.arange(count)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder)
    processor = {
        **{"image_processor_type": "CLIPImageProcessor", "do_center_crop": True},
        **{"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True},
        **{"image_mean": [0.48145466, 0.4578275, 0.40821073], "rescale_factor": 1 / 255},
        **{"image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3},
        **{"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
