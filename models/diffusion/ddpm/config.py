"""The shape of an ADM U-Net, as its ``config.json`` says it, and that of a published checkpoint.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, and the
authors' program guided-diffusion (MIT).
"""

from typing import Literal

from pydantic import Field, model_validator

from models.data.records import Record

Curve = Literal["linear", "cosine"]
# Channels that a GroupNorm layer computes together come from this many groups.
GROUPS = 32


class UnetConfig(Record):
    """The shape of a U-Net, or of the classifier that is its encoder, and its noise schedule.

    The same weights give other results with another ``qkv_first``, ``scale_shift_norm`` or number
    of heads, so the shape is stored with the weights.
    """

    image_size: int = Field(ge=8, description="Side of the images it was trained with, px.")
    channels: int = Field(multiple_of=GROUPS, gt=0, description="Width of the first level.")
    multipliers: tuple[float, ...] = Field(
        min_length=1, description="Width of each level, times channels."
    )
    residual_blocks: int = Field(2, ge=1, description="Residual blocks per level.")
    attention_factors: tuple[int, ...] = Field(
        (), description="Levels with attention, by how many times smaller their maps are."
    )
    head_channels: int | None = Field(None, gt=0, description="Width of an attention head.")
    heads: int = Field(1, gt=0, description="Attention heads, if head_channels is not set.")
    qkv_first: bool = Field(
        False, description="Attention layers split query, key and value first, then the heads."
    )
    scale_shift_norm: bool = Field(
        True, description="The time scales and shifts normalised features; else it is added."
    )
    resample_in_blocks: bool = Field(
        True, description="Residual blocks change the size; else convolutions do."
    )
    learned_variance: bool = Field(True, description="The network predicts the variance, too.")
    classes: int | None = Field(None, ge=1, description="Classes it is conditioned on, if any.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of residual blocks, in training.")
    curve: Curve = Field("linear", description="How the noise grows over the steps.")
    steps: int = Field(1000, ge=2, description="Steps from an image to pure noise.")
    prediction: Literal["noise", "velocity"] = Field(
        "noise", description="What the last layer predicts; the network gives the noise of both."
    )

    @model_validator(mode="after")
    def _fits(self) -> "UnetConfig":
        for width in self.widths:
            if width % GROUPS or width % (self.head_channels or self.heads):
                raise ValueError(
                    f"multipliers: a level has {width} channels; it must be a multiple of {GROUPS} "
                    "and of the heads"
                )
        smallest = 2 ** (len(self.multipliers) - 1)
        if self.image_size % smallest:
            raise ValueError(
                f"image_size: {self.image_size} is no multiple of {smallest}; give one"
            )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(factor * self.channels) for factor in self.multipliers)

    @property
    def embedding(self) -> int:
        """Length of the time embedding."""
        return 4 * self.channels


# The unconditional network for ImageNet at 256 px: 552,814,086 parameters.
IMAGENET_256 = UnetConfig(
    image_size=256,
    channels=256,
    multipliers=(1, 1, 2, 2, 4, 4),
    residual_blocks=2,
    attention_factors=(8, 16, 32),
    head_channels=64,
)
