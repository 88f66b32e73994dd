"""The records that travel between stages: small, frozen, JSON-able; pixels never travel along."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "val", "test"]
Media = Literal["png", "json", "jpg", "ckpt", "safetensors"]
Box = tuple[float, float, float, float]
# The label of a whole photo in which no object is annotated. It is no class.
NO_OBJECT_LABEL = "no object"


class Record(BaseModel):
    """A frozen pydantic model that refuses unknown fields, so that a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # Fields that don't change what one artifact looks like, such as how many are made of an input.
    NON_KEY_FIELDS: ClassVar[frozenset[str]] = frozenset()


# A checkpoint of the catalog: ``id``, or ``id@revision``. A run pins the revision when it starts.
Checkpoint = Annotated[str, Field(pattern=r"^[^@\s]+(@[^@\s]+)?$")]


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
    shape: tuple[int, ...] | None = None
    seconds: float = 0.0
    metadata: dict[str, Any] = {}
    reject_reason: str | None = None

    @property
    def id(self) -> str:
        """Where the store keeps it: ``<stage>/<key>``."""
        return f"{self.stage}/{self.key}"


class Annotation(Record):
    """One object of an image, or the class of the whole image.

    ``box`` is x, y, width, height in px of its image; ``mask`` an 8-bit PNG artifact of the image's
    size (255 = object; trimaps: 0, 128, 255). Either may be absent.
    """

    label: str
    box: Box | None = None
    mask: Artifact | None = None


def image_label(annotations: tuple[Annotation, ...]) -> str:
    """The class that all objects of an image share.

    Raises:
        ValueError: the image has no annotation, or objects of several classes.
    """
    labels = sorted({annotation.label for annotation in annotations})
    if len(labels) != 1:
        raise ValueError(f"an image needs one class, and has: {', '.join(labels) or 'none'}")
    return labels[0]


class SourceImage(Record):
    """One real image of any split: its normalised pixels in the store and its annotations.

    ``name`` is ``<class>/<stem>`` and unique in a run; ``file`` is the path below the photo folder.
    An image of a class folder has one annotation without a box. A *reference* is a source image
    that a generator uses. ``counted_as`` is the class that datasets count a photo in whose objects
    are of several classes; it is empty for all others. ``family`` names the photos that show the
    same scene: it is the first file among them, or the file itself, and one family is never in two
    splits. ``source_digest`` is the digest of the photo's file, and of the box in a crop."""

    name: str
    file: str
    split: Split
    image: Artifact
    annotations: tuple[Annotation, ...]
    prompt: str | None = None
    family: str = ""
    source_digest: str = ""
    counted_as: str = ""

    @property
    def label(self) -> str:
        """The class of the image, or the one that datasets count it in."""
        return self.counted_as or image_label(self.annotations)

    def shows(self, label: str) -> bool:
        """Whether an object of this class is in it, or it is of this class as a whole."""
        return any(note.label == label for note in self.annotations)

    def only(self, label: str) -> "SourceImage":
        """The same photo with the objects of one class alone."""
        own = (note for note in self.annotations if note.label == label)
        return self.model_copy(update={"annotations": tuple(own)})

    @property
    def draw_digest(self) -> str:
        """What random draws of photos follow from, whatever library wrote the stored PNG file."""
        return self.source_digest or self.image.digest


class Sources(Record):
    """All real images of a run with their splits, the refused files, and notes for the user.

    ``left_out`` says why a class is not used; no image is of such a class. ``warnings`` are the
    notes that a user should see at once.
    """

    images: tuple[SourceImage, ...]
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    left_out: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    def with_refused(self, more: Sequence[tuple[str, str]]) -> "Sources":
        """The same images, and more refused files with their reasons; all sorted by file."""
        return self.model_copy(update={"refused": tuple(sorted({*self.refused, *more}))})

    def of(self, *splits: str) -> list[SourceImage]:
        """The images of some splits, in the order of their names."""
        return [image for image in self.images if image.split in splits]

    @property
    def classes(self) -> list[str]:
        """The class names, sorted; a photo without an object has none."""
        labels = {note.label for image in self.images for note in image.annotations}
        return sorted(labels - {NO_OBJECT_LABEL})


class Lineage(Record):
    """How an image was made: its stages, the first one first, their models and the licences."""

    stages: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    seed: int = 0
    prompt: str | None = None


class Sample(Record):
    """One image that a dataset may hold, accepted or rejected with its reason.

    ``image`` is the JPEG that a dataset holds, or the last image that was made where the sample was
    rejected; boxes and masks of ``annotations`` are in px of it. ``generator`` is empty for a real
    image. ``sources`` are the names of all source images it was made from. ``family`` is that of
    the source image; generated images have none of their own. ``counted_as`` is the class that
    datasets count an image in whose objects are of several classes; it is empty for all others.
    """

    name: str
    split: Split
    image: Artifact
    annotations: tuple[Annotation, ...]
    generator: str = ""
    sources: tuple[str, ...]
    family: str = ""
    counted_as: str = ""
    lineage: Lineage = Lineage()
    scores: dict[str, float] = {}
    reject_reason: str | None = None

    @property
    def label(self) -> str:
        """The class of the image, or the one that datasets count it in."""
        return self.counted_as or image_label(self.annotations)

    @property
    def reject_kind(self) -> str:
        """The reason of a rejection without figures and names, for counting."""
        return (self.reject_reason or "").partition(":")[0].partition(" (")[0]

    @property
    def is_accepted(self) -> bool:
        """Whether a dataset may hold it."""
        return self.reject_reason is None
