"""Stable Diffusion 1.5 and its ControlNets, as small as their layout allows."""

from pathlib import Path

import torch

from tests.checkpoints import sd2_inpaint


def build(folder: Path) -> None:
    """stable-diffusion-v1-5/stable-diffusion-v1-5, without its safety checker."""
    sd2_inpaint.build(folder, channels=4, seed=22, pipeline="StableDiffusionPipeline")


def build_inpainting(folder: Path) -> None:
    """stable-diffusion-v1-5/stable-diffusion-inpainting, without its safety checker."""
    sd2_inpaint.build(folder, seed=24)


def build_controlnet(folder: Path) -> None:
    """lllyasviel/control_v11p_sd15_canny, with layers that are not zero as a fresh one's."""
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(23)
        network = ControlNetModel(
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            norm_num_groups=16,
            conditioning_embedding_out_channels=(8, 8, 16, 16),
        )
        for name, parameter in network.named_parameters():
            if "controlnet_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
