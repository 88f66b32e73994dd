"""Subsets: which photos and which generated images each point of a study trains on.

A replicate draws the photos, the images and the training seed together. Within a replicate, a
smaller number of photos is a subset of a larger one. A smaller share of images of the same photos
is a subset of a larger share.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from models.data.records import NO_OBJECT_LABEL, Sample
from models.evaluation.study_point import Point
from tasks.assemble.draw import take_turns
from tasks.study.grid import Grid, Method
from tasks.study.photo_sets import PhotoSets
from tasks.study.rare_class import count_instances, take_instances

# Per set of photos, by their names: the images that each generator made of them.
Made = Mapping[frozenset[str], Mapping[str, Sequence[Sample]]]
# Per generator and class, images in the order in which points take them.
_Ordered = Mapping[str, Mapping[str, Sequence[Sample]]]


@dataclass(frozen=True)
class Subset:
    """The train images of one point in one replicate, real ones first."""

    point: Point
    replicate: int
    train: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """The name of its dataset: that of the point without its training."""
        return f"{self.point.images_name} · replicate {self.replicate}"


def draw_subsets(
    grid: Grid,
    sets: PhotoSets,
    real: Mapping[str, Sample],
    made: Made,
    series: Mapping[str, Method],
) -> tuple[list[Subset], list[str]]:
    """The subsets of all points that every replicate can have, and a line for each other point.

    Args:
        sets: the photos of each number and order, one set per replicate.
        real: the sample of each photo by its name.
        series: the methods by name, each with its augmentation and its classifier.

    Raises:
        ValueError: no point is left; the line says why.
    """
    subsets: list[Subset] = []
    notes: list[str] = []
    train = {name for name, sample in real.items() if sample.split == "train"}
    total = count_instances((real[name] for name in train), grid.rare_class or "")
    for (number, order), drawn in sets.items():
        bases = [tuple(real[photo.name] for photo in found.photos) for found in drawn]
        if grid.rare_class is not None and not all(map(_shows_objects, bases)):
            notes.append(
                f"{number} of the photos of {grid.rare_class}: left out, because no photo that is "
                "left shows an object"
            )
            continue
        ordered = [
            order_images(made[found.names], base, found.replicate, grid, train)
            for found, base in zip(drawn, bases, strict=True)
        ]
        for name, method in series.items():
            point = Point(
                photos_per_class=str(number),
                photos_by=order,
                real=len(bases[0]) if method.real else 0,
                with_photos=method.real,
                method=name,
                augment=method.augment or "none",
                classifier=method.classifier or "network",
                rare_class=grid.rare_class or "",
            )
            if not method.synthetic:
                subsets += [Subset(point, place, base) for place, base in enumerate(bases)]
                continue
            if grid.fill == "instances":
                filled = point.model_copy(update={"instances": total})
                found, note = _fill_instances(filled, method.synthetic, bases, ordered)
                subsets += found
                notes += note
                continue
            for share, per_class in grid.amounts:
                amount = {"share": share, "images_per_class": per_class}
                found, note = _add_images(
                    point.model_copy(update=amount), method.synthetic, bases, ordered
                )
                subsets += found
                notes += note
    if not subsets:
        reasons = "; ".join(notes)
        raise ValueError(
            f"no point of the study can be trained ({reasons}); give other numbers with "
            "--photos-per-class"
        )
    return subsets, notes


def order_images(
    made: Mapping[str, Sequence[Sample]],
    photos: Sequence[Sample],
    replicate: int,
    grid: Grid,
    train: Set[str],
) -> _Ordered:
    """Per generator and class of the photos, the accepted images made of these photos alone.

    The photos take turns, in an order that follows from their bytes and the replicate. Where
    generators learn from all photos, an image must not show a photo that is left out. Of a rare
    class, images are those that show it.

    Args:
        train: the names of all train photos.
    """
    allowed = {photo.name for photo in photos}
    left_out = train - allowed

    def is_own(sample: Sample) -> bool:
        if grid.learn_from == "all":
            return sample.image.name not in left_out
        return allowed.issuperset(sample.sources)

    labels = [grid.rare_class] if grid.rare_class else list(_labels(photos))
    ordered: dict[str, dict[str, list[Sample]]] = {}
    for generator, samples in made.items():
        by_label: dict[str, list[Sample]] = {label: [] for label in labels}
        for sample in samples:
            if not sample.is_accepted or not is_own(sample):
                continue
            if grid.rare_class is None:
                by_label[sample.label].append(sample)
            elif count_instances([sample], grid.rare_class):
                by_label[grid.rare_class].append(sample)
        ordered[generator] = {
            label: take_turns(found, replicate) for label, found in by_label.items()
        }
    return ordered


def _add_images(
    point: Point,
    parts: Mapping[str, float],
    bases: Sequence[Sequence[Sample]],
    ordered: Sequence[_Ordered],
) -> tuple[list[Subset], list[str]]:
    """The subsets of a point with generated images, or a line that says why there are none."""
    subsets = []
    for replicate, (base, images) in enumerate(zip(bases, ordered, strict=True)):
        taken: list[Sample] = []
        for label, count in _counts(base, point.rare_class).items():
            total = point.images_per_class or point.share * count
            for generator, part in parts.items():
                wanted = round(total * part, 9)
                available = images[generator][label]
                if not 1 <= wanted <= len(available):
                    return [], [
                        f"{point.images_name}: left out, because class {label} has "
                        f"{len(available)} {generator} images of {wanted:g} in replicate "
                        f"{replicate}"
                    ]
                taken += available[: int(wanted + 0.5)]
        filled = point.model_copy(update={"synthetic": len(taken)})
        photos = base if point.with_photos else ()
        subsets.append(Subset(filled, replicate, (*photos, *taken)))
    return subsets, []


def _fill_instances(
    point: Point,
    parts: Mapping[str, float],
    bases: Sequence[Sequence[Sample]],
    ordered: Sequence[_Ordered],
) -> tuple[list[Subset], list[str]]:
    """The subsets of a point with as many instances of its rare class as all photos have.

    None where the photos have them all; a line says why a point is left out.
    """
    label = point.rare_class
    subsets = []
    for replicate, (base, images) in enumerate(zip(bases, ordered, strict=True)):
        wanted = point.instances - count_instances(base, label)
        if not wanted:
            return [], []
        available = {generator: images[generator][label] for generator in parts}
        taken, lacking = take_instances(available, parts, label, wanted)
        if lacking:
            generator, missing = next(iter(lacking.items()))
            return [], [
                f"{point.images_name}: left out, because the images of {generator} lack {missing} "
                f"instances of {label} in replicate {replicate}"
            ]
        filled = point.model_copy(update={"synthetic": len(taken)})
        photos = base if point.with_photos else ()
        subsets.append(Subset(filled, replicate, (*photos, *taken)))
    return subsets, []


def _shows_objects(photos: Sequence[Sample]) -> bool:
    return any(note.label != NO_OBJECT_LABEL for photo in photos for note in photo.annotations)


def _counts(photos: Sequence[Sample], rare_class: str) -> Counter[str]:
    """The photos of each class that gets images: of the rare one, those that show it."""
    if not rare_class:
        return _labels(photos)
    shown = sum(count_instances([photo], rare_class) > 0 for photo in photos)
    return Counter({rare_class: shown})


def _labels(photos: Sequence[Sample]) -> Counter[str]:
    return Counter(sorted(photo.label for photo in photos))
