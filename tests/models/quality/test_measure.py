"""Quality figures of a run from made-up features: copies, sets, classes, what is left out."""

import numpy as np

from models.data.records import Split
from models.quality.distances import Features
from models.quality.measure import EmbeddedImage, measure_quality
from models.quality.records import Diversity, NearestDistances, QualityMetrics, SetComparison

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def photos(per_split: int, seed: int = 0) -> list[EmbeddedImage]:
    rng = np.random.default_rng(seed)
    return [
        EmbeddedImage(
            image=f"resize/{split}-{label}-{number}",
            name=f"{label}/{split}{number}",
            label=label,
            split=split,
            generator="",
            source=f"{label}/{split}{number}",
            features=rng.normal(1.0 + position, 1.0, 8),
        )
        for position, label in enumerate(("mug", "shoe"))
        for split in SPLITS
        for number in range(per_split)
    ]


def image_of(photo: EmbeddedImage, number: int, features: Features) -> EmbeddedImage:
    return EmbeddedImage(
        image=f"{photo.image}-{number}",
        name=f"{photo.name}_{number}",
        label=photo.label,
        split="train",
        generator="copies",
        source=photo.name,
        features=features,
    )


def copies(real: list[EmbeddedImage], each: int, noise: float) -> list[EmbeddedImage]:
    rng = np.random.default_rng(1)
    return [
        image_of(photo, number, photo.features + rng.normal(0.0, noise, 8))
        for photo in real
        if photo.split == "train"
        for number in range(each)
    ]


def measured(images: list[EmbeddedImage]) -> QualityMetrics:
    return measure_quality(images, "made up", np.random.default_rng(0))


def comparison(quality: QualityMetrics, images: str, label: str | None = None) -> SetComparison:
    return next(
        row
        for row in quality.comparisons
        if (row.images, row.photos, row.label) == (images, "real held-out", label)
    )


def distances(quality: QualityMetrics, images: str, target: str) -> NearestDistances:
    return next(
        row
        for row in quality.nearest
        if (row.images, row.photos, row.label) == (images, target, None)
    )


def diversity(quality: QualityMetrics, images: str, group: str) -> Diversity:
    return next(
        row
        for row in quality.diversity
        if (row.images, row.group, row.label) == (images, group, None)
    )


def test_a_generator_that_draws_like_the_photos_is_as_good_as_the_yardstick() -> None:
    real = photos(30)
    drawn = [image_of(photo, 0, photo.features) for photo in photos(30, seed=1)]
    quality = measured([*real, *drawn])
    found, yardstick = comparison(quality, "copies"), comparison(quality, "real train")
    assert found.kid is not None
    assert yardstick.kid is not None
    assert yardstick.kid_sd is not None
    assert abs(found.kid - yardstick.kid) < yardstick.kid_sd


def test_a_generator_of_other_images_is_farther_away_and_covers_nothing() -> None:
    real = photos(20)
    quality = measured([*real, *[image_of(photo, 0, photo.features + 50.0) for photo in real[:40]]])
    found, yardstick = comparison(quality, "copies"), comparison(quality, "real train")
    assert (found.kid or 0.0) > 100 * abs(yardstick.kid or 0.0)
    assert found.coverage == found.density == 0.0


def test_a_copied_test_photo_is_the_nearest_pair() -> None:
    real = photos(6)
    victim = next(photo for photo in real if photo.name == "shoe/test4")
    quality = measured([*real, *copies(real, 2, 0.5), image_of(real[0], 9, victim.features)])
    pair = next(pair for pair in quality.pairs if pair.photos == "real test")
    assert (pair.image_name, pair.photo_name) == ("mug/train0_9", "shoe/test4")
    assert pair.distance == 0.0
    assert distances(quality, "copies", "real test").percentiles[0] == 0.0
    assert distances(quality, "real train", "real test").percentiles[0] > 0.0


def test_copies_of_a_photo_differ_less_than_photos_of_a_class() -> None:
    real = photos(6)
    quality = measured([*real, *copies(real, 4, 0.1)])
    siblings, others = (
        diversity(quality, "copies", "photo"),
        diversity(quality, "real train", "class"),
    )
    assert (siblings.n_groups, siblings.n_images) == (12, 48)
    assert (others.n_groups, others.n_images) == (2, 12)
    assert siblings.distance < others.distance / 5


def test_what_needs_more_images_is_left_out_by_name() -> None:
    few = comparison(measured([*photos(5), *copies(photos(5), 1, 0.1)]), "copies")
    assert few.kid is few.fid is few.density is few.coverage is None
    assert few.left_out == ("KID, FID, density, coverage: need 20 images in either set",)
    # Of 8 values: more than 8 images are enough for FID.
    assert comparison(measured(photos(20)), "real train").fid is not None
    wide = [
        EmbeddedImage(**{**vars(photo), "features": np.tile(photo.features, 20)})
        for photo in photos(20)
    ]
    assert comparison(measured(wide), "real train").left_out == (
        "FID: needs more than 160 images in either set",
    )


def test_each_class_has_figures_of_its_own() -> None:
    real = photos(20)
    quality = measured([*real, *copies(real, 2, 0.1)])
    shoes = comparison(quality, "copies", "shoe")
    assert (shoes.n_images, shoes.n_photos) == (40, 40)
    assert shoes.kid != comparison(quality, "copies", "mug").kid


def test_photos_alone_have_the_yardstick_and_nothing_else() -> None:
    quality = measured(photos(4))
    assert {row.images for row in quality.comparisons} == {"real train"}
    assert quality.pairs == ()
