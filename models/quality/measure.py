"""Quality of generated images: every figure of a run from the features of its images."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.data.records import Split
from models.quality.distances import (
    Features,
    density_and_coverage,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest,
)
from models.quality.records import (
    MIN_IMAGES,
    NEIGHBOUR,
    PERCENTILES,
    Diversity,
    NearestDistances,
    NearPair,
    QualityMetrics,
    SetComparison,
)

TRAIN, VAL, TEST, HELD_OUT = "real train", "real val", "real test", "real held-out"
# The nearest pairs that are kept, of each generator and split.
PAIRS = 6


@dataclass(frozen=True)
class EmbeddedImage:
    """One image with its features. ``generator`` is empty for a real photo.

    ``source`` names the photo that it was made of; ``image`` is the id of its artifact.
    """

    image: str
    name: str
    label: str
    split: Split
    generator: str
    source: str
    features: Features


@dataclass(frozen=True)
class ImageSet:
    """Images under one name, and their features as one array of shape (images, values)."""

    name: str
    images: tuple[EmbeddedImage, ...]

    @property
    def features(self) -> Features:
        """Features of all images."""
        return np.stack([image.features for image in self.images])

    def of(self, label: str | None) -> "ImageSet":
        """The images of one class; None: all."""
        kept = tuple(image for image in self.images if label in (None, image.label))
        return ImageSet(self.name, kept)


def measure_quality(
    images: Sequence[EmbeddedImage], network: str, rng: np.random.Generator
) -> QualityMetrics:
    """Every figure about the images of all generators, and of real photos as a yardstick.

    Args:
        images: accepted images of all generators, and real photos of all splits.
        network: name of the network that the features are from.
        rng: draws the subsets of the kernel distance.
    """
    names = list(dict.fromkeys(image.generator for image in images if image.generator))
    generated = [
        ImageSet(name, tuple(image for image in images if image.generator == name))
        for name in names
    ]
    real = tuple(image for image in images if not image.generator)
    train, val, test = (
        ImageSet(name, tuple(image for image in real if f"real {image.split}" == name))
        for name in (TRAIN, VAL, TEST)
    )
    held_out = ImageSet(HELD_OUT, (*val.images, *test.images))
    labels = (None, *sorted({image.label for image in images}))
    compared = [
        (train, held_out),
        *((own, photos) for own in generated for photos in (held_out, train)),
    ]
    # Of each generator, and of real photos of another split.
    measured = [(val, train), (test, train), (train, val), (train, test)]
    measured += [(own, photos) for own in generated for photos in (train, val, test)]
    return QualityMetrics(
        features=network,
        comparisons=tuple(
            compare_sets(own.of(label), photos.of(label), label, rng)
            for label in labels
            for own, photos in compared
        ),
        diversity=tuple(_measure_diversity(train, generated, labels)),
        nearest=tuple(
            _spread(own.of(label), photos, label)
            for label in labels
            for own, photos in measured
            if own.of(label).images and photos.images
        ),
        pairs=tuple(
            pair
            for own in generated
            for photos in (test, val, train)
            if photos.images
            for pair in find_pairs(own, photos)
        ),
    )


def compare_sets(
    images: ImageSet, photos: ImageSet, label: str | None, rng: np.random.Generator
) -> SetComparison:
    """One set against another. Figures that need more images are left out by name."""
    found: dict[str, Any] = {}
    reasons = []
    counts = len(images.images), len(photos.images)
    if min(counts) < MIN_IMAGES:
        reasons.append(f"KID, FID, density, coverage: need {MIN_IMAGES} images in either set")
    else:
        own, real = images.features, photos.features
        kernel = kernel_distance(own, real, rng)
        support = density_and_coverage(own, real, NEIGHBOUR)
        found = {"kid": _rounded(kernel.mean), "kid_sd": _rounded(kernel.sd)}
        found |= {"kid_subset": kernel.subset}
        found |= {"density": _rounded(support.density), "coverage": _rounded(support.coverage)}
        # With fewer images than values, the covariances are not of full rank.
        if min(counts) > own.shape[1]:
            found["fid"] = _rounded(frechet_distance(own, real))
        else:
            reasons.append(f"FID: needs more than {own.shape[1]} images in either set")
    return SetComparison(
        images=images.name,
        photos=photos.name,
        label=label,
        n_images=counts[0],
        n_photos=counts[1],
        left_out=tuple(reasons),
        **found,
    )


def find_pairs(images: ImageSet, photos: ImageSet) -> list[NearPair]:
    """The nearest pairs of an image and a photo, the nearest first, each photo once."""
    distances, indices = nearest(images.features, photos.features)
    pairs: dict[int, NearPair] = {}
    for position in np.argsort(distances, kind="stable"):
        image, photo = images.images[position], photos.images[indices[position]]
        if len(pairs) < PAIRS and indices[position] not in pairs:
            pairs[indices[position]] = NearPair(
                generator=images.name,
                image=image.image,
                image_name=image.name,
                photos=photos.name,
                photo=photo.image,
                photo_name=photo.name,
                distance=_rounded(distances[position]),
            )
    return list(pairs.values())


def _spread(images: ImageSet, photos: ImageSet, label: str | None) -> NearestDistances:
    distances, _ = nearest(images.features, photos.features)
    steps = np.percentile(distances, np.linspace(0, 100, PERCENTILES))
    return NearestDistances(
        images=images.name,
        photos=photos.name,
        label=label,
        n_images=len(images.images),
        n_photos=len(photos.images),
        percentiles=tuple(_rounded(step) for step in steps),
    )


def _measure_diversity(
    train: ImageSet, generated: Sequence[ImageSet], labels: Sequence[str | None]
) -> Iterator[Diversity]:
    def label_of(image: EmbeddedImage) -> str:
        return image.label

    for label in labels:
        yield from _mean_over_groups(train.of(label), "class", label, label_of)
        for own in generated:
            yield from _mean_over_groups(own.of(label), "class", label, label_of)
            yield from _mean_over_groups(own.of(label), "photo", label, lambda image: image.source)


def _mean_over_groups(
    images: ImageSet, kind: str, label: str | None, group_of: Callable[[EmbeddedImage], str]
) -> Iterator[Diversity]:
    """The mean over the groups of at least two images; nothing where there is none."""
    groups: dict[str, list[Features]] = defaultdict(list)
    for image in images.images:
        groups[group_of(image)].append(image.features)
    kept = [np.stack(group) for group in groups.values() if len(group) > 1]
    if kept:
        yield Diversity(
            images=images.name,
            group=kind,
            label=label,
            n_groups=len(kept),
            n_images=sum(map(len, kept)),
            distance=_rounded(np.mean([mean_pairwise_distance(group) for group in kept])),
        )


def _rounded(value: Any) -> float:
    """At most six significant digits and nine decimals: more depend on the number of threads."""
    return round(float(f"{float(value):.6g}"), 9)
