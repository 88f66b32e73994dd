"""The records that travel between stages: small, frozen, JSON-able; pixels never travel along."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "val", "test"]
Media = Literal["png", "json", "jpg", "ckpt"]
Box = tuple[int, int, int, int]
# Beside the images of a dataset folder: one JSON line per image.
METADATA = "metadata.jsonl"


class Record(BaseModel):
    """A frozen pydantic model that refuses unknown fields, so that a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, init=False)
class Of:
    """Says of a stage's field that only some of its models read it.

    It stays out of the key of what another model makes.
    """

    models: tuple[str, ...]

    def __init__(self, *models: str) -> None:
        object.__setattr__(self, "models", models)


@dataclass(frozen=True)
class NamesCheckpoint:
    """Says of a field that it names a checkpoint; it counts only while the stage uses it."""


# A checkpoint of the catalog: ``id``, or ``id@revision``. A run pins the revision when it starts.
Checkpoint = Annotated[str, Field(pattern=r"^[^@\s]+(@[^@\s]+)?$"), NamesCheckpoint()]


class Artifact(Record):
    """What is known of one immutable blob in the artifact store.

    ``key`` names the work (stage, version, parameters, inputs, model); ``digest`` names the bytes.
    A rejected artifact has no bytes (``size`` 0) and says why in ``rejected``.
    """

    key: str
    stage: str
    version: int
    name: str
    variant: dict[str, int | str] = {}
    media: Media
    digest: str
    size: int
    parents: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    model: str | None = None
    revision: str | None = None
    licence: str | None = None
    seed: int = 0
    prompt: str | None = None
    batch_size: int = 1
    dtype: str = "uint8"
    seconds: float = 0.0
    metadata: dict[str, Any] = {}
    reject_reason: str | None = None

    @property
    def label(self) -> str:
        """The class: what stands before the slash in ``name``."""
        return self.name.partition("/")[0]

    @property
    def id(self) -> str:
        """Where the store keeps it: ``<stage>/<key>``."""
        return f"{self.stage}/{self.key}"


class Reference(Record):
    """One real photo: its normalised pixels in the store, its class and its split.

    ``name`` is ``<class>/<stem>`` and unique in a run; ``file`` is the path below the photo folder.
    """

    name: str
    file: str
    label: str
    split: Split
    photo: Artifact
    prompt: str | None = None


class IngestedPhotos(Record):
    """All photos of a run with their splits, the refused ones, and what else is worth knowing."""

    photos: tuple[Reference, ...]
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def of(self, *splits: str) -> list[Reference]:
        """The photos of some splits, in the order of their names."""
        return [photo for photo in self.photos if photo.split in splits]

    @property
    def classes(self) -> list[str]:
        """The class names, sorted."""
        return sorted({photo.label for photo in self.photos})


class Sample(Record):
    """One image that a dataset may hold, real or synthetic, accepted or rejected with its reason.

    ``image`` is the JPEG that a dataset holds, or the finished image where it was rejected;
    ``mask`` is its 8-bit mask; ``seed`` is the finished image's; ``boxes`` are in pixels of
    ``image``; ``chain`` names the stages it went through, the photo's first, with their models and
    licences; ``source`` is the name of its reference photo.
    """

    name: str
    label: str
    split: Split
    origin: Literal["real", "synthetic"]
    source: str
    image: Artifact
    mask: Artifact | None = None
    boxes: tuple[Box, ...] = ()
    seed: int = 0
    chain: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    prompt: str | None = None
    scores: dict[str, float] = {}
    accepted: bool = True
    reason: str | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it was drawn from the photo alone, to compare with."""
        return "baseline" in self.chain
