"""The training sets of a run, and the trainings on them, as a recipe lists them."""

from typing import Literal

from pydantic import Field, StrictInt

from models.data.records import Record

Augmentation = Literal[
    "none",
    "flip",
    "crop",
    "randaugment",
    "autoaugment",
    "trivial",
    "custom",
    "rotate_blur_flip",
]
Classifier = Literal["network", "linear"]
Profile = Literal["classical", "diffusion"]


class DatasetSpec(Record):
    """A training set to compare. All numbers are images per class.

    A whole number is a count; a fraction such as 0.5 or 1.0 is a share of the common volume:
    ``assemble.per_class``, or the largest volume that every listed dataset can have. Of whole
    photos with objects of several classes, numbers hold for those that are counted in a class, and
    the common volume is that of the class.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name of its folder.")
    description: str = Field("", description="A sentence for the report.")
    real: StrictInt | float | Literal["references", "extra", "all"] = Field(
        0,
        description="Real train images: 1 is one image, 1.0 the whole common volume. references: "
        "exactly those that the generators used; extra: the references and as many other photos "
        "of the class, or all there are; all: every photo.",
    )
    synthetic: dict[str, StrictInt | float | Literal["all"]] = Field(
        {},
        description="Generator: its images; 1 is one image, 1.0 the whole common volume. "
        "all: every accepted image.",
    )
    per_class: int | None = Field(
        None, ge=1, description="A common volume of its own; none: that of the run."
    )


class TrainingSpec(Record):
    """A training to compare: a dataset, and what differs from the recipe's section ``train``.

    Tables and files of a run call the trained networks by ``name``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name in the report.")
    dataset: str = Field(description="Name of the dataset that it is trained on.")
    description: str = Field("", description="A sentence for the report; empty: the dataset's.")
    augment: Augmentation | None = Field(
        None, description="Random changes of train images; none: those of train."
    )
    classifier: Classifier | None = Field(
        None, description="What is trained; none: the classifier of train."
    )
    balanced: bool | None = Field(
        None, description="Draw real and synthetic images 1:1; none: as train says."
    )


class Origin(Record):
    """What stands behind a dataset: generated images or not, and which real photos.

    A generated image counts with the photos that it was made from.
    """

    synthetic: bool = Field(False, description="Whether it holds generated images.")
    photos: Literal["references", "some", "all"] = Field(
        "all", description="References alone, some, or all of the train photos."
    )
    photos_per_class: int = Field(0, description="These photos in the smallest class.")
