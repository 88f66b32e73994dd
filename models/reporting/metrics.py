"""``metrics.json`` as records: every figure of a run.

Shares and scores are 0..1. The report page and the dataset card read nothing else about a run.
"""

from typing import Literal

from pydantic import Field, JsonValue

from models.data.records import Record
from models.evaluation.answers import Conclusion
from models.evaluation.classification import DatasetScores, Metric, TrainingScores
from models.evaluation.comparison import Difference, Interval
from models.evaluation.detection.scores import DetectionScores
from models.evaluation.segmentation import SegmentationScores
from models.quality.records import ClassSelection, QualityMetrics


class RefusedFile(Record):
    """A file of the photo folder that was not used."""

    file: str = Field(description="Path below the photo folder.")
    reason: str


class ReferenceMetrics(Record):
    """What was generated from one reference photo."""

    name: str = Field(description="Class and file stem: mug/photo-1.")
    label: str
    status: Literal["computed", "cached", "failed"]
    reason: str | None = Field(None, description="Why it failed.")
    images: int = Field(0, description="Finished images, accepted or rejected.")
    accepted: int = 0
    rejected: int = 0


class Factor(Record):
    """One factor of the number of images per photo or class, such as 7 views."""

    amount: int
    name: str
    note: str


class Arithmetic(Record):
    """How many images a generator was to make: the product of its factors, times the photos.

    A generator with the unit ``class`` makes ``per_photo`` images of each class, and ``photos`` are
    its classes.
    """

    unit: Literal["photo", "class"] = "photo"
    factors: tuple[Factor, ...]
    per_photo: int
    photos: int
    total: int


class StageMetrics(Record):
    """What a stage did in this run, in artifacts."""

    computed: int = 0
    cached: int = 0
    rejected: int = 0
    safety_retries: int = Field(0, description="Images generated again for the safety checker.")
    cpu_s: float = Field(0.0, description="CPU seconds of the computed artifacts.")


class ModelUse(Record):
    """A model that a stage used, with the terms of its weights."""

    stage: str
    model: str
    revision: str | None = None
    licence: str
    commercial: bool | None = Field(
        description="Whether commercial use is allowed; null where the owner states nothing."
    )


class DatasetMetrics(Record):
    """One training set: its size, and what networks trained on it score."""

    description: str
    train: dict[str, int] = Field(description="Images per class.")
    synthetic: dict[str, int] = Field({}, description="Those of them that were generated.")
    val: dict[str, int]
    seeds: int = Field(0, description="Trainings, one per seed.")
    val_scores: DatasetScores | SegmentationScores | DetectionScores | None = None
    test: DatasetScores | SegmentationScores | DetectionScores | None = None
    accuracy: Interval | None = Field(
        None, description="Test accuracy with its interval, over test photos and seeds."
    )
    miou: Interval | None = Field(None, description="The same for the mean IoU of segmentation.")
    map_50_95: Interval | None = Field(
        None, description="The same for the mean average precision of detection."
    )

    @property
    def shown(self) -> tuple[Metric, Interval] | None:
        """The figure that a page shows without a verdict, and its interval; none untrained."""
        found: tuple[tuple[Metric, Interval | None], ...] = (
            ("accuracy", self.accuracy),
            ("miou", self.miou),
            ("map_50_95", self.map_50_95),
        )
        return next(((name, interval) for name, interval in found if interval), None)


class TrainingMetrics(Record):
    """One training: dataset and seed, how long it took, its epochs and its scores."""

    dataset: str
    seed: int
    key: str = Field(description="Id of the trained checkpoint in the store.")
    network: str
    parameters: int
    epochs: int
    steps_per_epoch: int
    best_epoch: int = Field(description="The epoch whose weights were kept, counted from 0.")
    epoch_choices: dict[str, float] = Field(
        {},
        description="The best score on val for each of train.epoch_choices: macro F1, mean IoU, or "
        "mean AP50.",
    )
    seconds: float
    history: dict[str, tuple[float, ...]] = Field(
        description="One value per epoch: epoch, learning_rate, train_loss, val_f1_macro, ..."
    )
    val: TrainingScores | SegmentationScores | DetectionScores
    test: TrainingScores | SegmentationScores | DetectionScores


class Finetuned(Record):
    """How a generator learned a class from its photos."""

    stage: str
    label: str
    losses: tuple[float, ...] = Field(description="The loss of each step, or of several.")
    loss_every: int = Field(1, description="Steps whose mean a loss is.")
    scores: tuple[tuple[int, float], ...] = Field(
        (), description="Of each sample sheet: its step, and the score that can stop the training."
    )


class Cost(Record):
    """Seconds behind one training: CPU time of generation, duration of the training of one seed."""

    generation_s: float = Field(description="CPU seconds of all generated images; 0 without them.")
    training_s: float = Field(description="Mean over the seeds.")
    rival: str | None = Field(None, description="The best training without synthetic images.")
    seconds_per_point: float | None = Field(
        None, description="Seconds more than the rival's, per percentage point gained."
    )

    @property
    def total_s(self) -> float:
        """Seconds of generation and training together."""
        return self.generation_s + self.training_s


class Metrics(Record):
    """Everything that ``metrics.json`` holds."""

    name: str = Field(description="Name of the recipe.")
    synthset: str = Field(description="Version of this program.")
    profile: str
    recipe: dict[str, JsonValue]
    problem: str = Field("", description="Why the run ended early; empty if it did not.")
    classes: tuple[str, ...]
    left_out: dict[str, str] = Field({}, description="Classes that are not used, and why.")
    photos: dict[str, dict[str, int]] = Field(description="Photos per split and class.")
    refused: tuple[RefusedFile, ...] = ()
    notes: tuple[str, ...] = Field((), description="Warnings of the run.")
    reference_photos: int = Field(0, description="Photos that images were made of.")
    references: tuple[ReferenceMetrics, ...] = Field(
        (), description="Per generator, what was made of each photo, class or shard of scenes."
    )
    arithmetic: dict[str, Arithmetic] = Field({}, description="Planned images per generator.")
    stages: dict[str, StageMetrics] = {}
    rejects: dict[str, int] = Field({}, description="Rejected images per reason.")
    datasets: dict[str, DatasetMetrics] = {}
    runs: tuple[TrainingMetrics, ...] = ()
    comparisons: tuple[Difference, ...] = Field(
        (), description="Differences between datasets, with intervals over seeds and test photos."
    )
    verdict: Conclusion | None = Field(None, description="Null with fewer than two datasets.")
    quality: QualityMetrics | None = Field(None, description="What the images are like.")
    selections: tuple[ClassSelection, ...] = Field(
        (), description="What the section select kept, per generator and class."
    )
    finetuned: tuple[Finetuned, ...] = Field(
        (), description="Trainings of generators, such as dreambooth, per class."
    )
    costs: dict[str, Cost] = {}
    test_looks: int = Field(
        0, description="Different recipes or versions that this test set has judged, this included."
    )
    models: tuple[ModelUse, ...] = ()
    seconds: float = 0.0
