"""Photo sets: which photos each number of a study takes in each replicate."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.data.pixels import Floats
from models.data.records import SourceImage
from tasks.study.grid import Grid, PhotoOrder, count_photos
from tasks.study.read_words import Number

# By number and order: one set per replicate.
PhotoSets = dict[tuple[Number, PhotoOrder], list["PhotoSet"]]


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one number in one replicate, by class."""

    replicate: int
    photos: tuple[SourceImage, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of the photos."""
        return frozenset(photo.name for photo in self.photos)


def leave_out_numbers(photos: Sequence[SourceImage], grid: Grid) -> tuple[Grid, list[str]]:
    """The grid without numbers that a class lacks or that repeat another one, and a line for each.

    Raises:
        ValueError: no number is left, or no photo shows the rare class of the grid.
    """
    if grid.rare_class is not None and not split_photos(photos, grid)[0]:
        raise ValueError(
            f"study.grid.rare_class: no train photo shows the class {grid.rare_class!r}; name a "
            "class of the photos"
        )
    numbered, _ = split_photos(photos, grid)
    sizes = {label: len(found) for label, found in order_photos(numbered, 0, grid).items()}
    smallest = min(sizes, key=lambda label: sizes[label])
    kept: dict[tuple[int, ...], Number] = {}
    notes: list[str] = []
    for number in grid.photos_per_class:
        counts = tuple(count_photos(number, size) for size in sizes.values())
        if isinstance(number, int) and number > sizes[smallest]:
            notes.append(
                f"{number} photos per class: left out, because class {smallest} has "
                f"{sizes[smallest]} train photos"
            )
        elif counts in kept:
            notes.append(
                f"{number} photos per class: left out, because they are the same as those of "
                f"{kept[counts]}"
            )
        else:
            kept[counts] = number
    if not kept:
        raise ValueError(
            f"--photos-per-class: class {smallest} has {sizes[smallest]} train photos, fewer than "
            f"{min(map(int, grid.photos_per_class))}; give smaller numbers, or all"
        )
    return grid.model_copy(update={"photos_per_class": tuple(kept.values())}), notes


def draw_photo_sets(
    grid: Grid, photos: Sequence[SourceImage], features: Mapping[str, Floats]
) -> PhotoSets:
    """The photos of each number, order and replicate.

    Args:
        features: float32 (n,) of each photo by its name; empty if the order is random alone.
    """
    sets: PhotoSets = {}
    numbered, always = split_photos(photos, grid)
    for order in grid.photos_by:
        for replicate in range(grid.seeds):
            ordered = order_photos(numbered, replicate, grid)
            if order != "random":
                ordered = {
                    label: order_by_likeness(found, features, order)
                    for label, found in ordered.items()
                }
            for number in grid.photos_per_class:
                taken = tuple(
                    photo
                    for found in ordered.values()
                    for photo in found[: count_photos(number, len(found))]
                )
                found = PhotoSet(replicate, (*taken, *always))
                sets.setdefault((number, order), []).append(found)
    return sets


def find_same_photos(sets: PhotoSets) -> set[tuple[str, PhotoOrder]]:
    """The numbers, with their orders, with which all of several replicates take the same photos."""
    return {
        (str(number), order)
        for (number, order), drawn in sets.items()
        if len(drawn) > 1 and len({found.names for found in drawn}) == 1
    }


def all_photos(sets: PhotoSets) -> list[SourceImage]:
    """The photos that any set holds, in the order of their names."""
    used = {
        photo.name: photo for drawn in sets.values() for found in drawn for photo in found.photos
    }
    return [used[name] for name in sorted(used)]


def split_photos(
    photos: Sequence[SourceImage], grid: Grid
) -> tuple[list[SourceImage], list[SourceImage]]:
    """The photos that the numbers of a grid hold for, and those that are always used."""
    rare = grid.rare_class
    numbered = [photo for photo in photos if rare is None or photo.shows(rare)]
    always = [photo for photo in photos if rare is not None and not photo.shows(rare)]
    return numbered, sorted(always, key=lambda photo: photo.name)


def order_photos(
    photos: Sequence[SourceImage], replicate: int, grid: Grid
) -> dict[str, list[SourceImage]]:
    """Per class, the photos in the order in which the subsets of a replicate take them.

    With a rare class, all of them are of that class.
    """

    def draw(photo: SourceImage) -> str:
        return hashlib.sha256(f"photo {replicate} {photo.draw_digest}".encode()).hexdigest()

    ordered: dict[str, list[SourceImage]] = {}
    for photo in sorted(photos, key=draw):
        ordered.setdefault(grid.rare_class or photo.label, []).append(photo)
    return dict(sorted(ordered.items()))


def order_by_likeness(
    photos: Sequence[SourceImage], features: Mapping[str, Floats], order: PhotoOrder
) -> list[SourceImage]:
    """The first photo, then those most alike to it, or each as far as can be from all before.

    Likeness is the cosine of features; the farthest-first order is that of Gonzalez (1985,
    https://doi.org/10.1016/0304-3975(85)90224-5).
    """
    rows = np.stack([features[photo.name] for photo in photos]).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    likeness = rows @ rows.T
    if order == "alike":
        places = [0, *sorted(range(1, len(photos)), key=lambda place: -likeness[0, place])]
        return [photos[place] for place in places]
    places, nearest = [0], likeness[0].copy()
    while len(places) < len(photos):
        nearest[places] = np.inf
        place = int(nearest.argmin())
        places.append(place)
        nearest = np.maximum(nearest, likeness[place])
    return [photos[place] for place in places]
