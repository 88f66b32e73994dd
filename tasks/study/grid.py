"""The grid of a study: the numbers of photos and of generated images, and the methods it compares.

A share of photos is written ``5%``; a share of generated images is a number of images per photo, so
that 20 is 2000 % of the photos.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from models.data.records import Record
from models.data.specs import Augmentation, Classifier, Profile

PhotoOrder = Literal["random", "alike", "different"]
Number = Annotated[int, Field(strict=True)] | str
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
T = TypeVar("T")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
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
        return tuple(_read_number(word) if isinstance(word, str) else word for word in content)

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
        made = sum(len(self.amounts) if method.synthetic else 1 for method in series.values())
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
            content["photos_per_class"] = _read_list(
                "--photos-per-class", photos_per_class, _read_number
            )
        if shares is not None:
            content["shares"] = _read_list("--shares", shares, _read_share)
            content["images_per_class"] = ()
        if images_per_class is not None:
            content["images_per_class"] = _read_list(
                "--images-per-class", images_per_class, _read_count
            )
            content["shares"] = ()
        if seeds is not None:
            content["seeds"] = seeds
        return Grid.model_validate(content)


def count_photos(number: Number, available: int) -> int:
    """How many of the photos of a class a number takes: at least one, and never more than all."""
    if isinstance(number, int):
        return min(number, available)
    share = 100.0 if number == "all" else float(number.removesuffix("%"))
    return min(max(1, int(available * share / 100 + 0.5 + 1e-9)), available)


def _read_list(option: str, text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    words = [word.strip() for word in text.split(",")]
    doubled = next((word for word in words if words.count(word) > 1), None)
    if doubled is not None:
        raise ValueError(f"{option}: {doubled!r} is named twice; name it once")
    try:
        return tuple(map(read, words))
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def _read_number(word: str) -> Number:
    found = _PERCENT.fullmatch(word)
    if found:
        share = float(found[1])
        if not 0 < share <= 100:
            raise ValueError(f"{word} of the photos is out of range; give more than 0% up to 100%")
        return f"{share:g}%"
    if word == "all":
        return word
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(
            f"{word!r} is no number of photos; give whole numbers from 1, shares such as 5%, or "
            "all, such as 5,10,all"
        )
    return int(word)


def _read_share(word: str) -> float:
    try:
        share = float(word)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise ValueError(
            f"{word!r} is no number of images per photo; give numbers from 0, such as 0,0.5,2"
        )
    return share


def _read_count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(f"{word!r} is no number of images; give whole numbers from 1")
    return int(word)
