"""Settings of the pixel diffusion models that are fitted to the objects of a class.

A generator names its network once, as `BaseNetwork`. The squares that the network learns from, and
the trainings, take their size and their weights from it.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.data.records import Checkpoint, Record
from models.diffusion.ddpm.config import GROUPS, IMAGENET_256, Curve, UnetConfig

Condition = Literal["none", "edges", "masks"]
Turns = Literal["none", "mirrored", "all"]


class SquareCrops(Record):
    """The squares of photos that a network learns the objects of a class from.

    A square is as large as the one that the network later paints in, so ``context`` must be the
    same in both.
    """

    context: float = Field(
        2.0,
        ge=1,
        le=10,
        description="Side of a square, times the longer side of the object's box. A square is not"
        " smaller than the network's images where the photo allows that.",
    )
    min_side: int = Field(
        8, ge=1, le=4096, description="Longer side of a box at least, px; below: left out."
    )
    masks: bool = Field(
        True, description="Squares of objects that have a mask get it as their alpha channel."
    )


class SizedSquares(SquareCrops):
    """Squares in the size of a network."""

    size: int


class _Training(Record):
    """How long and how fast weights are trained; the learning rate of Adam is constant."""

    NON_KEY_FIELDS: ClassVar = frozenset({"save_every"})

    steps: int = Field(600, ge=1, le=1_000_000, description="Updates of the weights.")
    batch: int = Field(16, ge=1, le=4096, description="Squares per update.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Learning rate of Adam.")
    save_every: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Steps between states on disk; a killed training continues from the last one.",
    )


class _DiffusionTraining(_Training):
    """What all trainings of a diffusion model share."""

    micro_batch: int = Field(
        16, ge=1, le=4096, description="Squares computed at a time; their gradients are added up."
    )
    bound_weight: float = Field(
        0.001, ge=0, le=1, description="Weight of the variational bound, which trains the variance."
    )
    average_decay: float | None = Field(
        0.99, gt=0, lt=1, description="Of a moving average of the weights; none: no average."
    )
    turns: Turns = Field(
        "mirrored",
        description="Changes of a square in each draw: none, mirrored at random, or all: turned by"
        " 90 degrees too, as fits pictures taken from above.",
    )
    evaluate_every: int = Field(
        300, ge=1, le=1_000_000, description="Steps between two sample sheets and their score."
    )
    samples: int = Field(16, ge=2, le=256, description="Images of a sample sheet.")
    sample_spacing: str = Field(
        "ddim25",
        pattern=r"^(ddim)?\d+$",
        description="Steps of an image of the sheet: a number, after ddim for evenly spread ones.",
    )


class BaseAdm256(Record):
    """The published network for images of 256 px, trained on ImageNet without classes."""

    model: Literal["adm-256"] = Field(
        "adm-256", description="the published network for 256 px, the study's."
    )
    checkpoint: Checkpoint = Field("openai/256x256_diffusion_uncond", description="Weights.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return (self.checkpoint,)

    @property
    def size(self) -> int:
        """Side of the network's images, px."""
        return IMAGENET_256.image_size

    @property
    def curve(self) -> Curve:
        """How noise grows over the steps."""
        return IMAGENET_256.curve


class BaseFromScratch(_DiffusionTraining):
    """A small network, trained on random squares of the class's photos and of backgrounds."""

    model: Literal["from-scratch"] = Field(
        "from-scratch", description="a small network, trained on random squares of your photos."
    )
    size: int = Field(32, ge=16, le=256, multiple_of=8, description="Side of its images, px.")
    channels: int = Field(
        32, ge=GROUPS, le=512, multiple_of=GROUPS, description="Width of its first level."
    )
    multipliers: tuple[int, ...] = Field(
        (1, 2, 2), min_length=1, max_length=7, description="Width of each level, times channels."
    )
    residual_blocks: int = Field(1, ge=1, le=8, description="Residual blocks per level.")
    attention_factors: tuple[int, ...] = Field(
        (4,), description="Levels with attention, by how many times smaller their maps are."
    )
    curve: Curve = Field("cosine", description="How noise grows over the steps.")
    squares: int = Field(500, ge=2, le=100_000, description="Random squares that it learns from.")
    largest_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Side of a random square at most, share of the photo's shorter side; at least"
        " it has the size of the network's images.",
    )

    @property
    def shape(self) -> UnetConfig:
        """The shape of the network."""
        return UnetConfig(
            image_size=self.size,
            channels=self.channels,
            multipliers=self.multipliers,
            residual_blocks=self.residual_blocks,
            attention_factors=self.attention_factors,
            head_channels=GROUPS,
            curve=self.curve,
            prediction="velocity",
        )

    @model_validator(mode="after")
    def _is_a_network(self) -> Self:
        try:
            assert self.shape
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self


Base = BaseAdm256 | BaseFromScratch
BaseNetwork = Annotated[BaseFromScratch | BaseAdm256, Field(discriminator="model")]


class _Fit(_DiffusionTraining):
    """What both ways of fitting share."""

    NON_KEY_FIELDS: ClassVar = _DiffusionTraining.NON_KEY_FIELDS | {"recompute"}

    condition: Condition = Field(
        "none",
        description="What images follow: none, edges of a square, found with random thresholds, or"
        " the masks of its objects.",
    )
    small_side: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Objects whose mean side is a smaller share of the square are small.",
    )
    repeat_small: int = Field(
        1, ge=1, le=100, description="How often a square with a small object is drawn; others once."
    )
    recompute: bool = Field(
        False,
        description="Compute features again in the backward pass: a third more time, and a fraction"
        " of the memory.",
    )
    stop_after: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Sheets without a better score after which the training stops, and the best"
        " weights are used; none: never.",
    )


class FitAdapters(_Fit):
    """Time-aware adapters and attention blocks are trained; residual blocks stay as they are."""

    model: Literal["adapters"] = Field(
        "adapters", description="adapters and attention blocks are trained, as in the study."
    )
    bottleneck: int = Field(128, ge=1, le=4096, description="Width of the adapters.")
    steps: int = Field(25_000, ge=1, le=1_000_000, description="Updates of the weights.")
    batch: int = Field(128, ge=1, le=4096, description="Squares per update.")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Learning rate of Adam.")
    average_decay: float | None = Field(
        None, gt=0, lt=1, description="Of a moving average of the weights; none: no average."
    )
    evaluate_every: int = Field(
        2_500, ge=1, le=1_000_000, description="Steps between two sample sheets and their score."
    )


class FitAll(_Fit):
    """All weights of the network are trained."""

    model: Literal["all-weights"] = Field(
        "all-weights", description="all weights are trained; for small networks."
    )


FitDdpm = Annotated[FitAll | FitAdapters, Field(discriminator="model")]


class FitSizeClassifier(_Training):
    """A classifier of noisy squares that tells how large an object is, and guides the painting."""

    channels: int = Field(
        32, ge=GROUPS, le=512, multiple_of=GROUPS, description="Width of its first level."
    )


class _OnNetwork(Record):
    """The network that is trained: a checkpoint, or the one that the job's first input holds."""

    size: int
    checkpoint: Checkpoint | None

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return () if self.checkpoint is None else (self.checkpoint,)


class FitDdpmOn(_Fit, _OnNetwork):
    """A fitting and the network that is fitted; ``bottleneck`` None: all weights are trained."""

    model: str
    bottleneck: int | None


class FitSizeClassifierOn(FitSizeClassifier):
    """A classifier, and the size and noise of its images."""

    size: int
    curve: Curve


def squares_for(base: Base, squares: SquareCrops) -> SizedSquares:
    """The squares in the size of the network."""
    return SizedSquares(**squares.model_dump(), size=base.size)


def fit_for(base: Base, fit: FitAll | FitAdapters) -> FitDdpmOn:
    """The fitting on the network of a generator."""
    bottleneck = fit.bottleneck if isinstance(fit, FitAdapters) else None
    return FitDdpmOn(
        **fit.model_dump(exclude={"model", "bottleneck"}),
        model=base.model,
        size=base.size,
        checkpoint=base.checkpoint if isinstance(base, BaseAdm256) else None,
        bottleneck=bottleneck,
    )


def classifier_for(base: Base, classifier: FitSizeClassifier) -> FitSizeClassifierOn:
    """The classifier of the network's images."""
    return FitSizeClassifierOn(**classifier.model_dump(), size=base.size, curve=base.curve)
