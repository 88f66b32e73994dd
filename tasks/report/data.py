"""What the report of a run is made from: small records, and documents in the store."""

from pydantic import Field, JsonValue

from models.data.records import Artifact, Record, Sources
from models.data.specs import Origin
from models.evaluation.settings import VerdictSettings
from models.reporting.metrics import Arithmetic, ModelUse, ReferenceMetrics, StageMetrics


class ReferenceSummary(ReferenceMetrics):
    """What was generated from one reference photo; ``key`` names its results in the store.

    ``is_learned`` says that its generator first learned the class from its photos.
    """

    key: str | None = None
    is_learned: bool = False


class DatasetSummary(Record):
    """One training set: its images per class, and the document that lists them."""

    description: str
    train: dict[str, int]
    synthetic: dict[str, int] = {}
    val: dict[str, int]
    document: Artifact
    origin: Origin = Origin()


class RunSummary(Record):
    """A run from its photos to its trained networks."""

    name: str = Field(description="Name of the recipe.")
    profile: str
    recipe: dict[str, JsonValue]
    shown_as: dict[str, str] = Field(
        {}, description="The stages that contact sheets show, with an explanation of each."
    )
    arithmetic: dict[str, Arithmetic] = Field({}, description="Planned images per generator.")
    problem: str = Field("", description="Why the run ended early; empty if it did not.")
    photos: Sources
    reference_photos: int = Field(0, description="Photos that images were made of.")
    references: tuple[ReferenceSummary, ...]
    stages: dict[str, StageMetrics]
    rejects: dict[str, int] = Field(description="Rejected images per reason.")
    models: tuple[ModelUse, ...] = ()
    warnings: tuple[str, ...] = ()
    datasets: dict[str, DatasetSummary]
    test: Artifact | None = Field(None, description="Document that lists the test photos.")
    families: dict[str, str] = Field(
        {}, description="Near-duplicate family of each val and test photo, by its artifact's id."
    )
    checkpoints: tuple[Artifact, ...] = ()
    scores: tuple[Artifact, ...] = Field((), description="Predictions of each checkpoint.")
    selections: tuple[Artifact, ...] = Field((), description="Documents of `select`.")
    quality: Artifact | None = Field(None, description="Document of the quality figures.")
    verdict: VerdictSettings = VerdictSettings()
    seconds: float = 0.0
