"""A U-Net with the parts that a fine-tuning adds, and which of its weights are trained."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from models.data.records import Record
from models.diffusion.ddpm.adapters.condition import ConditionEncoder
from models.diffusion.ddpm.adapters.time_aware import (
    BOTTLENECK,
    TimeAwareAdapters,
    attention_blocks,
)
from models.diffusion.ddpm.unet import Unet
from models.diffusion.ddpm.weights_file import read_weights
from models.runtime.batching import device_of, dtype_of
from models.runtime.loading import WrongCheckpointError


class Adaptation(Record):
    """What a fine-tuning adds to a U-Net, and what of the U-Net it trains."""

    trains: Literal["attention", "all"] = Field(
        "attention", description="Weights of the U-Net that are trained; the others are frozen."
    )
    bottleneck: int | None = Field(
        BOTTLENECK, ge=1, description="Width of the time-aware adapters; null: no adapters."
    )
    condition_channels: int | None = Field(
        None, ge=1, description="Channels of the picture that images follow; null: no picture."
    )


class AdaptedUnet(nn.Module):
    """A U-Net, its adapters if any, and its condition encoder if any.

    The adapters are attached to ``unet``. Before the training it computes what ``unet`` does.
    """

    def __init__(self, unet: Unet, adaptation: Adaptation) -> None:
        super().__init__()
        self.adaptation, self.unet = adaptation, unet
        self.adapters: TimeAwareAdapters | None = None
        self.condition_encoder: ConditionEncoder | None = None
        if adaptation.bottleneck is not None:
            self.adapters = TimeAwareAdapters(unet, adaptation.bottleneck)
            self.adapters.attach(unet)
        if adaptation.condition_channels is not None:
            self.condition_encoder = ConditionEncoder(unet, adaptation.condition_channels)
        # The new parts go where the U-Net is.
        self.to(device=device_of(unet), dtype=dtype_of(unet))

    def forward(self, images: Tensor, times: Tensor, pictures: Tensor | None = None) -> Tensor:
        """As `Unet`; ``pictures`` [B, condition_channels, H, W] in -1..1 are what images follow."""
        added = None
        if self.condition_encoder is not None and pictures is not None:
            added = self.condition_encoder(pictures.to(dtype_of(self.unet)))
        result: Tensor = self.unet(images, times, added=added)
        return result

    def train_adaptation(self) -> dict[str, nn.Parameter]:
        """Freeze all weights but those that are trained; these by name."""
        self.requires_grad_(self.adaptation.trains == "all")
        for _, block in attention_blocks(self.unet):
            block.requires_grad_(True)
        for part in (self.adapters, self.condition_encoder):
            if part is not None:
                part.requires_grad_(True)
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


def load_adaptation(unet: Unet, file: Path) -> AdaptedUnet:
    """The U-Net with the weights of a file that `save_weights` wrote, frozen; ``unet`` is changed.

    Raises:
        WrongCheckpointError: the file holds no such weights, or those of another U-Net.
    """
    adaptation, weights = read_weights(Adaptation, file)
    network = AdaptedUnet(unet, adaptation)
    expected = network.train_adaptation()
    unlike = [
        name
        for name in sorted({*expected, *weights})
        if name not in expected
        or name not in weights
        or expected[name].shape != weights[name].shape
    ]
    if unlike:
        raise WrongCheckpointError(
            f"{file}: weights of another U-Net ({unlike[0]}); use the checkpoint it was tuned from"
        )
    network.load_state_dict(weights, strict=False)
    return network.eval().requires_grad_(False)
