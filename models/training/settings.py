"""The settings of a training. Nothing here imports torch: recipes are read in milliseconds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from models.data.records import Record
from models.data.specs import Augmentation, Classifier, TrainingSpec
from models.training.policy_settings import RANGED_POLICIES, PolicyRanges

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
# These fields change neither weights nor history, so they are part of no key.
# ``task`` is none either: the inputs and settings of each task differ.
NON_KEY_FIELDS = frozenset({"loggers", "memory_mb", "seeds", "task", "workers"})
# Fields that were added later, each with the value of trainings before it. With this value a field
# is part of no key, so that a run finds those trainings.
ADDED_FIELDS: dict[str, object] = {
    "augment_ranges": None,
    "epoch_choices": [],
    "freeze": "none",
    "schedule": "milestones",
}
MAX_EPOCHS = 10_000
Task = Literal["classification", "segmentation", "detection"]


class TrainingParameters(Record):
    """How a classifier is trained; the defaults are those of the published study."""

    needs_masks: ClassVar[bool] = False
    needs_boxes: ClassVar[bool] = False

    task: Task = Field("classification", description="What the networks learn.")
    classifier: Classifier = Field(
        "network",
        description="network: all weights are trained. linear: logistic regression on the features "
        "of the embedded backbone, tf_efficientnet_lite0; it ignores the settings of a network.",
    )
    network: str = Field("efficientnet_b3.ra2_in1k", description="timm name, or small_cnn.")
    pretrained: bool = Field(True, description="Start from published weights, or weights_file.")
    weights_file: Path | None = Field(None, description="Local .safetensors or .pth file.")
    revision: str | None = Field(None, description="Hub commit of the weights; None: the newest.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="sgd: momentum 0.9.")
    learning_rate: float = Field(
        0.01, gt=0, le=10, description="Learning rate of the first epoch; of onecycle, the highest."
    )
    schedule: Literal["milestones", "onecycle"] = Field(
        "milestones",
        description="milestones: the rate drops at these epochs, and is constant without any. "
        "onecycle: it rises to learning_rate in 30 % of all steps, then falls to 0.",
    )
    milestones: tuple[int, ...] = Field(
        (5, 10, 15, 40), description="Epochs, from 0, at which the rate is multiplied by gamma."
    )
    gamma: float = Field(0.1, gt=0, le=1, description="Factor at each milestone.")
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Weight decay per step, as torch defines it."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target over all classes."
    )
    batch_size: int = Field(16, ge=2, le=4096, description="Images per step.")
    image_size: int = Field(324, ge=32, le=2048, description="Side of the square input, pixels.")
    epochs: int = Field(20, ge=1, le=MAX_EPOCHS, description="Largest number of epochs.")
    epoch_choices: tuple[int, ...] = Field(
        (),
        description="Numbers of epochs in place of epochs: one training for each, with its own "
        "schedule, of which val chooses one.",
    )
    steps_per_epoch: int | None = Field(
        None,
        ge=1,
        description="Steps per epoch; None: one pass over the largest train set that is not drawn "
        "1:1.",
    )
    freeze: Literal["none", "body"] = Field(
        "none",
        description="body: the head alone is trained, on features of the pretrained layers. "
        "frozen_steps and body_rate then change nothing.",
    )
    frozen_steps: int = Field(
        0,
        ge=0,
        description="First steps in which the head alone is trained and the statistics of batch "
        "normalisation are fixed.",
    )
    body_rate: float = Field(
        1.0, gt=0, le=1, description="Factor on the learning rate of all layers but the head."
    )
    balanced: bool = Field(
        False, description="Draw real and synthetic images 1:1, whatever their numbers."
    )
    linear_copies: int = Field(
        256,
        ge=0,
        le=100_000,
        description="Augmented images that a linear classifier learns from besides its train set.",
    )
    seeds: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4), min_length=1, description="One training per seed."
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Epochs without a better val F1 before stopping; None: never."
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto", description="auto: bf16 or fp16 mixed on a CUDA GPU, 32-bit on CPU."
    )
    augment: Augmentation = Field("flip", description="Random changes of train images.")
    augment_ranges: PolicyRanges | None = Field(
        None,
        description="Ranges of augment: custom and rotate_blur_flip; none: those of the studies.",
    )
    workers: int = Field(0, ge=0, le=256, description="Loader processes; 0: none.")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of torch; None: torch's choice."
    )
    memory_mb: int = Field(2048, ge=0, description="MiB of decoded images kept, per set.")
    loggers: tuple[LoggerName, ...] = Field(
        ("csv", "tensorboard"), description="Where curves are written."
    )

    @model_validator(mode="after")
    def _check(self) -> "TrainingParameters":
        if self.task != type(self).model_fields["task"].default:
            raise ValueError(f"task: {self.task} has settings of its own; use its class")
        if self.weights_file is not None and not self.pretrained:
            raise ValueError("weights_file is set but pretrained is false; remove one of the two")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(
                f"seeds: {self.seeds} are not all different and 0 or more; correct them"
            )
        if any(milestone < 1 for milestone in self.milestones):
            raise ValueError(f"milestones: {self.milestones} are not all 1 or more; correct them")
        if len(set(self.epoch_choices)) != len(self.epoch_choices) or any(
            not 1 <= epochs <= MAX_EPOCHS for epochs in self.epoch_choices
        ):
            raise ValueError(
                f"epoch_choices: {self.epoch_choices} are not all different and 1 to {MAX_EPOCHS};"
                " correct them"
            )
        if self.freeze == "body" and not self.pretrained:
            raise ValueError(
                "freeze: body keeps random weights, because pretrained is false; set it to true"
            )
        return self

    def allows(self, spec: TrainingSpec) -> bool:
        """Whether a training may differ in this way from these settings."""
        return True

    def key_params(self) -> dict[str, Any]:
        """The settings that decide the weights and the history, ready for JSON."""
        settings = self.model_dump(mode="json", exclude=set(NON_KEY_FIELDS))
        ranges = self.augment_ranges or PolicyRanges()
        is_used = self.augment in RANGED_POLICIES
        settings["augment_ranges"] = ranges.model_dump(mode="json") if is_used else None
        return {
            name: value
            for name, value in settings.items()
            if name not in ADDED_FIELDS or value != ADDED_FIELDS[name]
        }

    @property
    def planned_epochs(self) -> int:
        """The largest number of epochs of one seed; a linear classifier counts as one."""
        if self.classifier == "linear":
            return 1
        return sum(self.epoch_choices) or self.epochs

    def learning_rates(self) -> tuple[float, ...]:
        """The learning rate of each epoch with milestones."""
        drops = [
            sum(milestone <= epoch for milestone in self.milestones) for epoch in range(self.epochs)
        ]
        return tuple(self.learning_rate * self.gamma**count for count in drops)


def settings_of(spec: TrainingSpec, parameters: TrainingParameters) -> TrainingParameters:
    """The settings of a training: those of the recipe with the training's own."""
    own = {
        name: value
        for name in ("augment", "classifier", "balanced")
        if (value := getattr(spec, name)) is not None
    }
    return parameters.model_copy(update=own)


def equal_steps(parameters: TrainingParameters, train_sizes: Iterable[int]) -> TrainingParameters:
    """Set the steps per epoch, unless they are set, to one pass over the largest train set."""
    if parameters.steps_per_epoch is not None:
        return parameters
    steps = -(-max(train_sizes) // parameters.batch_size)
    return parameters.model_copy(update={"steps_per_epoch": steps})
