"""A tiny IS-Net whose mask is white where the photo is dark, so that drawn objects are found."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.segmentation.isnet_network import IsNet

DIVISOR, SIDE = 16, 64
THRESHOLD, STEEPNESS = 0.1, 40.0


def build(folder: Path) -> None:
    """``isnet-general-use.safetensors`` with the published keys, and its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = IsNet(DIVISOR)
        see_darkness(network)
    save_file(network.state_dict(), folder / "isnet-general-use.safetensors")
    (folder / "config.json").write_text(json.dumps({"width_divisor": DIVISOR, "side": SIDE}))


@torch.no_grad()
def see_darkness(network: IsNet) -> None:
    """Make a mask white where the photo is dark, at any width: channel 0 carries how much darker
    than mid grey a pixel is, past all blocks, to ``side1``. Other weights are drawn, and small."""
    for name, tensor in network.state_dict().items():
        if name.endswith("conv_s1.weight"):
            tensor.copy_(torch.randn(tensor.shape) * 0.02)
        elif name.endswith(("conv_s1.bias", "bn_s1.bias")):
            tensor.zero_()
    network.conv_in.weight.zero_()
    network.conv_in.weight[0, :, 1, 1] = -1 / 3
    network.conv_in.bias.zero_()  # type: ignore[union-attr]
    first = network.stage1.rebnconvin.conv_s1.weight
    first[0] = 0
    first[0, 0, 1, 1] = 1
    last = network.stage1d.rebnconvin.conv_s1.weight
    last[0] = 0
    last[0, last.shape[1] // 2, 1, 1] = 1
    side = network.get_submodule("side1")
    assert isinstance(side, torch.nn.Conv2d)
    assert side.bias is not None
    side.weight.zero_()
    side.weight[0, 0, 1, 1] = STEEPNESS
    side.bias.fill_(-STEEPNESS * THRESHOLD)
