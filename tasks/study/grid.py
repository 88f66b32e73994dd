"""The grid of a study: the numbers of photos and of generated images, and the methods it compares.

A share of photos is written ``5%``; a share of generated images is a number of images per photo, so
that 20 is 2000 % of the photos.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.data.records import Record
from models.data.specs import Augmentation, Classifier, Profile
from tasks.study.read_words import Number, read_count, read_list, read_number, read_share

PhotoOrder = Literal["random", "alike", "different"]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
_DEFAULT_SHARES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


class Method(Record):
    """A series of a study: what its classifiers are trained on, and how."""

    synthetic: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        {}, description="Generator: its part of the generated images. None: photos alone."
    )
    real: bool = Field(True, description="Whether the photos are part of it; false: images alone.")
    augment: Augmentation | None = Field(
        None,
        description="Random changes of train images; none: those of train, and for a linear "
        "classifier with generated images none.",
    )
    classifier: Classifier | None = Field(
        None, description="What is trained; none: the classifier of train."
    )
    profile: Profile | None = Field(
        None, description="The profile in which it takes part; none: both."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = sum(self.synthetic.values())
        if self.synthetic and not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"the parts add up to {total:g}; make them add up to 1")
        if not self.synthetic and not self.real:
            raise ValueError("it has no photos and no images; set real: true, or list synthetic")
        return self


class Grid(Record):
    """What a study compares."""

    photos_per_class: tuple[Number, ...] = Field(
        (5, 8, 10, 24, 50, "all"),
        min_length=1,
        description="Real photos per class: numbers, shares such as 5%, or all.",
    )
    rare_class: str | None = Field(
        None,
        description="Numbers of photos hold for the train photos that show this class, and may be "
        "0%; all other photos are always used. Amounts of generated images are those that show it.",
    )
    photos_by: tuple[PhotoOrder, ...] = Field(
        ("random",),
        min_length=1,
        description="Which photos a number takes. alike: those nearest to the first one in the "
        "features of the embedded backbone. different: each as far as can be from all before.",
    )
    shares: tuple[Share, ...] = Field(
        (),
        description="Generated images per real photo; points without any are always there. None "
        f"listed, and no images_per_class: {', '.join(f'{share:g}' for share in _DEFAULT_SHARES)}.",
    )
    images_per_class: tuple[Count, ...] = Field(
        (), description="Generated images per class, in place of shares."
    )
    fill: Literal["none", "instances"] = Field(
        "none",
        description="instances: in place of shares, images are added until the train images show as"
        " many objects of the rare class as all photos do.",
    )
    learn_from: Literal["own", "all"] = Field(
        "own",
        description="own: generators see the photos of a number alone; all: generators see all "
        "train photos, but paint no scene that the number leaves out.",
    )
    methods: dict[str, Method] = Field(
        {},
        description="The series by name; none listed: each generator added to the photos. Without "
        "a series of photos alone there are some with the usual augmentations.",
    )
    seeds: int = Field(5, ge=1, description="Replicates.")

    @field_validator("photos_per_class", mode="before")
    @classmethod
    def _read_numbers(cls, content: Any) -> Any:
        if not isinstance(content, list | tuple):
            return content
        return tuple(read_number(word) if isinstance(word, str) else word for word in content)

    @field_validator("photos_per_class")
    @classmethod
    def _check_numbers(cls, numbers: tuple[Number, ...]) -> tuple[Number, ...]:
        for number in numbers:
            if isinstance(number, int) and number < 1:
                raise ValueError(f"{number} is no number of photos; give whole numbers from 1")
        return numbers

    @model_validator(mode="after")
    def _check_amounts(self) -> Self:
        if self.shares and self.images_per_class:
            raise ValueError("shares and images_per_class are both listed; list one of them")
        if self.fill == "instances" and (self.shares or self.images_per_class):
            raise ValueError(
                "fill: instances sets the amounts; remove shares and images_per_class, or set none"
            )
        if self.rare_class is None and (self.fill == "instances" or "0%" in self.photos_per_class):
            raise ValueError(
                "0% of the photos and fill: instances need rare_class; name the class that they "
                "are about"
            )
        return self

    @property
    def amounts(self) -> list[tuple[float, int]]:
        """Generated images as (per real photo, per class), of which one is 0; zeros are left out.

        They are in the order of the grid.
        """
        if self.images_per_class:
            return [(0.0, count) for count in self.images_per_class]
        return [(share, 0) for share in self.shares or _DEFAULT_SHARES if share]

    @property
    def profiles(self) -> list[Profile]:
        """The profiles in which a method has generated images; without methods, both."""
        profiles: tuple[Profile, ...] = ("classical", "diffusion")
        made = [method for method in self.methods.values() if method.synthetic]
        return [
            profile
            for profile in profiles
            if not self.methods or any(method.profile in (None, profile) for method in made)
        ]

    def of(self, profile: Profile) -> "Grid":
        """The grid with the methods of a profile alone."""
        methods = {
            name: method
            for name, method in self.methods.items()
            if method.profile in (None, profile)
        }
        return self.model_copy(update={"methods": methods})

    def count_trainings(self, series: Mapping[str, Method]) -> int:
        """The trainings of these series, where the photos suffice for all points."""
        amounts = 1 if self.fill == "instances" else len(self.amounts)
        made = sum(amounts if method.synthetic else 1 for method in series.values())
        return made * len(self.photos_per_class) * len(self.photos_by) * self.seeds

    def changed(
        self,
        photos_per_class: str | None = None,
        shares: str | None = None,
        images_per_class: str | None = None,
        seeds: int | None = None,
    ) -> "Grid":
        """The grid with other lists, each separated by commas; share 0 is always part of a study.

        Raises:
            ValueError: an entry can't be read, is out of range, or is named twice.
        """
        content = self.model_dump()
        if shares is not None and images_per_class is not None:
            raise ValueError("--shares and --images-per-class: give one of the two")
        if photos_per_class is not None:
            content["photos_per_class"] = read_list(
                "--photos-per-class", photos_per_class, read_number
            )
        if shares is not None:
            content["shares"] = read_list("--shares", shares, read_share)
            content["images_per_class"] = ()
        if images_per_class is not None:
            content["images_per_class"] = read_list(
                "--images-per-class", images_per_class, read_count
            )
            content["shares"] = ()
        if seeds is not None:
            content["seeds"] = seeds
        return Grid.model_validate(content)


def count_photos(number: Number, available: int) -> int:
    """How many of the photos of a class a number takes: never more than all, and at least one.

    0% takes none.
    """
    if isinstance(number, int):
        return min(number, available)
    share = 100.0 if number == "all" else float(number.removesuffix("%"))
    if not share:
        return 0
    return min(max(1, int(available * share / 100 + 0.5 + 1e-9)), available)
