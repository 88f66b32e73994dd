"""Subsets: which photos and which generated images each point of a study trains on.

A replicate draws the photos, the images and the training seed together. Within a replicate, a
smaller number of photos is a subset of a larger one. A smaller share of images of the same photos
is a subset of a larger share.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.data.records import Record, Sample, SourceImage
from models.evaluation.study import Point
from tasks.assemble.draw import take_turns

Number = Annotated[int, Field(strict=True, ge=1)] | Literal["all"]
Share = Annotated[float, Field(gt=0)]
# Per class, generated images in the order in which points take them.
_Ordered = Mapping[str, Sequence[Sample]]


class Grid(Record):
    """What a study compares."""

    photos_per_class: tuple[Number, ...] = Field(
        (5, 8, 10, 24, 50, "all"), min_length=1, description="Real photos per class."
    )
    shares: tuple[Share, ...] = Field(
        (0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
        description="Generated images per real photo; points without any are always there.",
    )
    seeds: int = Field(5, ge=1, description="Replicates.")


def read_grid(numbers: str, shares: str, seeds: int) -> Grid:
    """The grid of two lists that are separated by commas; share 0 is always part of a study.

    Raises:
        ValueError: a number or a share can't be read, is out of range, or is named twice.
    """
    return Grid(
        photos_per_class=tuple(map(_read_number, _split("--photos-per-class", numbers))),
        shares=tuple(share for share in map(_read_share, _split("--shares", shares)) if share),
        seeds=seeds,
    )


def _split(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    doubled = next((word for word in words if words.count(word) > 1), None)
    if doubled is not None:
        raise ValueError(f"{option}: {doubled!r} is named twice; name it once")
    return words


def _read_number(word: str) -> Number:
    if word == "all":
        return "all"
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(
            f"--photos-per-class: {word!r} is no number of photos; give whole numbers from 1, or "
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
            f"--shares: {word!r} is no number of images per photo; give numbers from 0, such as "
            "0,0.5,2"
        )
    return share


@dataclass(frozen=True)
class Subset:
    """The train images of one point in one replicate, real ones first."""

    point: Point
    replicate: int
    train: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """The name of its dataset: that of the point without its augmentation."""
        return f"{self.point.images_name} · replicate {self.replicate}"


def order_photos(photos: Sequence[SourceImage], replicate: int) -> dict[str, list[SourceImage]]:
    """Per class, the photos in the order in which the subsets of a replicate take them."""

    def draw(photo: SourceImage) -> str:
        return hashlib.sha256(f"photo {replicate} {photo.image.digest}".encode()).hexdigest()

    ordered: dict[str, list[SourceImage]] = {}
    for photo in sorted(photos, key=draw):
        ordered.setdefault(photo.label, []).append(photo)
    return dict(sorted(ordered.items()))


def leave_out_numbers(photos: Sequence[SourceImage], grid: Grid) -> tuple[Grid, list[str]]:
    """The grid without the numbers of photos that a class lacks, and a line for each of them.

    Raises:
        ValueError: no number is left.
    """
    sizes = {label: len(found) for label, found in order_photos(photos, 0).items()}
    smallest = min(sizes, key=lambda label: sizes[label])
    kept: list[Number] = []
    notes: list[str] = []
    for number in grid.photos_per_class:
        if number == "all" or number <= sizes[smallest]:
            kept.append(number)
        else:
            notes.append(
                f"{number} photos per class: left out, because class {smallest} has "
                f"{sizes[smallest]} train photos"
            )
    if not kept:
        raise ValueError(
            f"--photos-per-class: class {smallest} has {sizes[smallest]} train photos, fewer than "
            f"{min(map(int, grid.photos_per_class))}; give smaller numbers, or all"
        )
    return grid.model_copy(update={"photos_per_class": tuple(kept)}), notes


def photos_of(photos: Sequence[SourceImage], grid: Grid) -> list[SourceImage]:
    """The photos that any subset of any replicate holds, in the order of their names."""
    used = {
        photo.name
        for replicate in range(grid.seeds)
        for number in grid.photos_per_class
        for photo in _first_photos(photos, number, replicate)
    }
    return sorted((photo for photo in photos if photo.name in used), key=lambda photo: photo.name)


def draw_subsets(
    grid: Grid,
    photos: Sequence[SourceImage],
    real: Mapping[str, Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    augment: str,
    baselines: Sequence[str],
) -> tuple[list[Subset], list[str]]:
    """The subsets of all points that every replicate can have, and a line for each other point.

    Args:
        grid: what is compared.
        photos: train photos.
        real: the sample of each photo by its name.
        synthetic: per generator, its images.
        augment: the augmentation of points with generated images.
        baselines: the augmentations of points without any.
    """
    subsets: list[Subset] = []
    notes: list[str] = []
    for number in grid.photos_per_class:
        bases = [
            tuple(real[photo.name] for photo in _first_photos(photos, number, replicate))
            for replicate in range(grid.seeds)
        ]
        plain = Point(photos_per_class=str(number), real=len(bases[0]), augment=augment)
        for baseline in baselines:
            point = plain.model_copy(update={"augment": baseline})
            subsets += [Subset(point, place, base) for place, base in enumerate(bases)]
        for generator, made in synthetic.items():
            ordered = [order_images(made, base, place) for place, base in enumerate(bases)]
            for share in grid.shares:
                point = plain.model_copy(update={"generator": generator, "share": share})
                found, note = _add_images(point, bases, ordered)
                subsets += found
                notes += note
    return subsets, notes


def order_images(made: Sequence[Sample], photos: Sequence[Sample], replicate: int) -> _Ordered:
    """Per class of the photos, the accepted images made of these photos alone.

    The photos take turns, in an order that follows from their bytes and the replicate.
    """
    allowed = {photo.name for photo in photos}
    by_label: dict[str, list[Sample]] = {label: [] for label in sorted(_labels(photos))}
    for sample in made:
        if sample.is_accepted and allowed.issuperset(sample.sources):
            by_label[sample.label].append(sample)
    return {label: take_turns(samples, replicate) for label, samples in by_label.items()}


def _add_images(
    point: Point, bases: Sequence[Sequence[Sample]], ordered: Sequence[_Ordered]
) -> tuple[list[Subset], list[str]]:
    """The subsets of a point with generated images, or a line that says why there are none."""
    subsets = []
    for replicate, (base, images) in enumerate(zip(bases, ordered, strict=True)):
        taken: list[Sample] = []
        for label, count in _labels(base).items():
            wanted = point.share * count
            if not 1 <= wanted <= len(images[label]):
                return [], [
                    f"{point.images_name} images per photo: left out, because class {label} has "
                    f"{len(images[label])} images of {wanted:g} in replicate {replicate}"
                ]
            taken += images[label][: int(wanted + 0.5)]
        filled = point.model_copy(update={"synthetic": len(taken)})
        subsets.append(Subset(filled, replicate, (*base, *taken)))
    return subsets, []


def _first_photos(
    photos: Sequence[SourceImage], number: Number, replicate: int
) -> list[SourceImage]:
    end = None if number == "all" else number
    return [
        photo for ordered in order_photos(photos, replicate).values() for photo in ordered[:end]
    ]


def _labels(photos: Sequence[Sample]) -> Counter[str]:
    return Counter(sorted(photo.label for photo in photos))
