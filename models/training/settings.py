"""The settings of a training. Nothing here imports torch: recipes are read in milliseconds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from models.data.records import Record

Augmentation = Literal["none", "flip", "crop", "randaugment", "autoaugment", "trivial"]
LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
# These fields change neither weights nor history, so they are part of no key.
NON_KEY_FIELDS = frozenset({"loggers", "memory_mb", "seeds", "workers"})


class TrainingParameters(Record):
    """How a classifier is trained; the defaults are the study's."""

    network: str = Field("efficientnet_b3.ra2_in1k", description="timm name, or small_cnn.")
    pretrained: bool = Field(True, description="Start from published weights, or weights_file.")
    weights_file: Path | None = Field(None, description="Local .safetensors or .pth file.")
    revision: str | None = Field(None, description="Hub commit of the weights; None: the newest.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="sgd: momentum 0.9.")
    learning_rate: float = Field(0.01, gt=0, le=10, description="Of the first epoch.")
    milestones: tuple[int, ...] = Field(
        (5, 10, 15, 40), description="Epochs, from 0, at which the learning rate is multiplied."
    )
    gamma: float = Field(0.1, gt=0, le=1, description="Factor at each milestone.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Per step, as the optimiser has it.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share spread over all classes.")
    batch_size: int = Field(16, ge=2, le=4096, description="Images per step.")
    image_size: int = Field(324, ge=32, le=2048, description="Side of the square input, pixels.")
    epochs: int = Field(20, ge=1, le=10_000, description="Most epochs.")
    steps_per_epoch: int | None = Field(
        None, ge=1, description="Steps in each epoch; None: once through the train set."
    )
    seeds: tuple[int, ...] = Field((42,), min_length=1, description="One training per seed.")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Epochs without a better val F1 before stopping; None: never."
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto", description="auto: bf16 or fp16 mixed on a CUDA GPU, 32-bit on CPU."
    )
    augment: Augmentation = Field("flip", description="What changes a train image at each showing.")
    workers: int = Field(0, ge=0, le=256, description="Processes that load images; 0: none extra.")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of the arithmetic; None: torch's choice."
    )
    memory_mb: int = Field(2048, ge=0, description="Decoded images kept in memory, MiB per set.")
    loggers: tuple[LoggerName, ...] = Field(("csv", "tensorboard"), description="Where curves go.")

    @model_validator(mode="after")
    def _check(self) -> "TrainingParameters":
        if self.weights_file is not None and not self.pretrained:
            raise ValueError("weights_file is given but pretrained is false; drop one of the two")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds: {self.seeds} must be different numbers, none negative")
        if any(milestone < 1 for milestone in self.milestones):
            raise ValueError(f"milestones: {self.milestones} must each be 1 or more")
        return self

    def learning_rates(self) -> tuple[float, ...]:
        """The learning rate of each epoch."""
        passed = [sum(mark <= epoch for mark in self.milestones) for epoch in range(self.epochs)]
        return tuple(self.learning_rate * self.gamma**count for count in passed)


def equal_steps(parameters: TrainingParameters, train_sizes: Iterable[int]) -> TrainingParameters:
    """Set the steps per epoch to one pass over the largest train set, the same for every set.

    Args:
        parameters: the settings; a ``steps_per_epoch`` that is set is kept.
        train_sizes: number of train images of each set that is compared.
    """
    if parameters.steps_per_epoch is not None:
        return parameters
    steps = -(-max(train_sizes) // parameters.batch_size)
    return parameters.model_copy(update={"steps_per_epoch": steps})
