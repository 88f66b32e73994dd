"""Adapters start as the identity, train alone, depend on the time, and are saved alone."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.diffusion.ddpm.adapters.network import (
    Adaptation,
    AdaptedUnet,
    load_adaptation,
)
from models.diffusion.ddpm.adapters.time_aware import attention_blocks, detach
from models.diffusion.ddpm.config import UnetConfig
from models.diffusion.ddpm.unet import Unet
from models.diffusion.ddpm.weights_file import save_weights
from models.runtime.loading import WrongCheckpointError
from tests.models.diffusion.ddpm.tiny import TINY, tiny_unet

BOTH = Adaptation(bottleneck=8, condition_channels=1)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 256).reshape(2, 3, 16, 16)
PICTURES = torch.linspace(-1, 1, 2 * 256).reshape(2, 1, 16, 16)
TIMES = torch.tensor([3, 700])


def trained(seed: int = 0) -> AdaptedUnet:
    """An adapted network whose trained weights have moved."""
    torch.manual_seed(seed)
    network = AdaptedUnet(tiny_unet(), BOTH).eval()
    optimizer = torch.optim.SGD(network.train_adaptation().values(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        network(IMAGES, TIMES, PICTURES).square().mean().backward()
        optimizer.step()
    return network


def digest(weights: dict[str, Tensor]) -> dict[str, str]:
    return {
        name: hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()
        for name, weight in weights.items()
    }


def test_it_starts_as_the_network_without_adapters() -> None:
    before = tiny_unet()(IMAGES, TIMES)
    network = AdaptedUnet(tiny_unet(), BOTH).eval()
    assert torch.equal(network(IMAGES, TIMES, PICTURES), before)


def test_only_attention_and_new_parts_are_trained() -> None:
    before = digest(dict(tiny_unet().state_dict()))
    after = digest(dict(trained().unet.state_dict()))
    changed = {name for name in before if before[name] != after[name]}
    attention = {name for name in before if name.split(".")[-2] in ("norm", "qkv", "proj_out")}
    assert changed
    # A key's bias has no effect on the softmax, so that not every weight must move.
    assert changed <= attention
    assert {name.split(".")[-2] for name in changed} == {"norm", "qkv", "proj_out"}


def test_all_weights_are_trained_if_the_settings_say_so() -> None:
    network = AdaptedUnet(tiny_unet(), Adaptation(trains="all", bottleneck=None))
    assert set(network.train_adaptation()) == {name for name, _ in network.named_parameters()}
    assert network.adapters is None
    assert network.condition_encoder is None


def test_adapters_depend_on_the_time_and_can_be_switched_off() -> None:
    network = trained()
    adapters = network.adapters
    assert adapters is not None
    name, block = next(attention_blocks(network.unet))
    features = torch.randn(1, 32, 9, generator=torch.Generator().manual_seed(0))
    assert block.after_attention is not None
    shares = [
        block.after_attention(features, network.unet.embed(torch.tensor([time]))) - features
        for time in (0, 900)
    ]
    assert (shares[0] - shares[1]).abs().max() > 0.01 * shares[0].abs().max() > 0

    plain = Unet(TINY).eval()
    plain.load_state_dict(network.unet.state_dict())
    assert not torch.equal(network.unet(IMAGES, TIMES), plain(IMAGES, TIMES))
    detach(network.unet)
    assert torch.equal(network.unet(IMAGES, TIMES), plain(IMAGES, TIMES))
    assert name in adapters.fusions


def test_adapters_have_the_number_of_weights_of_the_formula() -> None:
    config = UnetConfig(
        image_size=16, channels=32, multipliers=(1, 2), residual_blocks=1, attention_factors=(1, 2)
    )
    network = AdaptedUnet(Unet(config), Adaptation(bottleneck=8))
    widths = [block.channels for _, block in attention_blocks(network.unet)]
    length, bottleneck = config.embedding, 8
    fusion = sum(
        2 * width + (width + 1) * bottleneck + (length + 1) * bottleneck + (bottleneck + 1) * width
        for width in widths
    )
    scaling = sum((length + 1) * width for width in set(widths))
    assert sorted(set(widths)) == [32, 64]
    assert network.adapters is not None
    assert _count(network.adapters) == fusion + scaling


def test_the_picture_changes_the_result_after_training() -> None:
    network = trained()
    first, other = (network(IMAGES, TIMES, pictures) for pictures in (PICTURES, -PICTURES))
    assert (first - other).abs().max() > 0


def test_trained_weights_are_saved_alone_and_loaded_again(tmp_path: Path) -> None:
    network, file = trained(), tmp_path / "adaptation.safetensors"
    save_weights(BOTH, network.train_adaptation(), file)
    assert not any("in_layers" in name for name in load_file(file))
    loaded = load_adaptation(tiny_unet(), file)
    assert loaded.adaptation == BOTH
    assert torch.equal(loaded(IMAGES, TIMES, PICTURES), network(IMAGES, TIMES, PICTURES))
    assert not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize("case", ["no settings", "no file", "another shape", "a weight is missing"])
def test_wrong_weights_are_refused(tmp_path: Path, case: str) -> None:
    file, unet = tmp_path / "adaptation.safetensors", tiny_unet()
    weights = dict(AdaptedUnet(tiny_unet(), BOTH).train_adaptation())
    if case == "no settings":
        save_file({name: weight.detach() for name, weight in weights.items()}, file)
    elif case == "no file":
        file.write_bytes(b"no weights")
    else:
        if case == "another shape":
            unet = tiny_unet(config=TINY.model_copy(update={"channels": 64}))
        else:
            weights.popitem()
        save_weights(BOTH, weights, file)
    with pytest.raises(
        WrongCheckpointError, match=r"(no weights with settings of Adaptation|weights of another U)"
    ):
        load_adaptation(unet, file)


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
