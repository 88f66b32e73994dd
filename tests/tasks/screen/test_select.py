"""Which images a selection rejects, and why."""

from typing import Any

import numpy as np

from tasks.screen.select import (
    NOT_CHOSEN,
    NOT_THE_BEST,
    WRONG_CLASS,
    WRONG_NAME,
    Select,
    select_rows,
)

# Features of two values: a mug points right, a shoe up.
MUG, SHOE = (1.0, 0.0), (0.0, 1.0)
ALL = Select(own_class=False, keep=1.0)


def row(image: str, label: str, split: str = "train", source: str = "") -> dict[str, Any]:
    generator = "multiview" if source else ""
    return {
        "image": image,
        "label": label,
        "split": split,
        "generator": generator,
        "source": source,
    }


PHOTOS = [row("photo/1", "mug"), row("photo/2", "shoe"), row("photo/3", "mug", "val")]
PHOTO_FEATURES = [MUG, SHOE, MUG]


def reasons_of(
    images: list[tuple[float, float]], sources: list[str], parameters: Select
) -> list[str | None]:
    rows = [
        *PHOTOS,
        *(row(f"made/{at}", "mug", source=source) for at, source in enumerate(sources)),
    ]
    features = np.array([*PHOTO_FEATURES, *images], np.float32)
    found: Any = select_rows(rows, features, parameters)
    assert found["classes"][0]["images"] == len(images)
    return [found["images"][f"made/{at}"]["reason"] for at in range(len(images))]


def test_an_image_that_is_more_like_another_class_is_rejected() -> None:
    images = [(1.0, 0.2), (0.2, 1.0)]
    assert reasons_of(images, ["a", "a"], Select(keep=1.0)) == [None, f"{WRONG_CLASS}: shoe"]
    assert reasons_of(images, ["a", "a"], ALL) == [None, None]


def test_an_image_that_is_more_like_the_name_of_another_class_is_rejected() -> None:
    names = {"mug": np.array(MUG), "shoe": np.array(SHOE)}
    rows = [row("photo/2", "shoe"), *(row(f"made/{at}", "mug", source="a") for at in range(2))]
    features = np.array([SHOE, (1.0, 0.2), (0.2, 1.0)], np.float32)
    found: Any = select_rows(rows, features, ALL, names)["images"]
    # No mug is a reference, so the images are compared with names alone.
    like, unlike = found["made/0"], found["made/1"]
    assert (like["reason"], unlike["reason"]) == (None, f"{WRONG_NAME}: shoe")
    assert like["similarity"] is None
    assert like["name_similarity"] > 0.9 > unlike["name_similarity"]


def test_the_best_of_the_images_of_the_same_photos_stays() -> None:
    images = [(1.0, 0.5), (1.0, 0.1), (1.0, 0.9)]
    best = ALL.model_copy(update={"best_of": 2})
    assert reasons_of(images, ["a", "a", "b"], best) == [NOT_THE_BEST, None, None]


def test_the_share_that_is_most_alike_stays() -> None:
    images = [(1.0, 0.5), (1.0, 0.1), (1.0, 0.9), (1.0, 0.2)]
    half = ALL.model_copy(update={"keep": 0.5})
    expected = [NOT_CHOSEN, None, NOT_CHOSEN, None]
    assert reasons_of(images, ["a", "b", "c", "d"], half) == expected


def test_the_method_distance_leaves_out_a_cluster_that_no_photo_is_like() -> None:
    rng = np.random.default_rng(0)

    def cloud(centre: float, count: int) -> np.ndarray:
        return np.asarray(rng.normal((1.0, centre), 0.05, (count, 2)), np.float32)

    rows = [row(f"photo/{at}", "mug", "train" if at < 8 else "val") for at in range(16)]
    rows += [row(f"made/{at}", "mug", source="a") for at in range(20)]
    features = np.concatenate([cloud(0.0, 16), cloud(0.0, 10), cloud(4.0, 10)])
    parameters = Select(method="distance", keep=0.1, own_class=False)
    found: Any = select_rows(rows, features, parameters)
    kept = {image for image, entry in found["images"].items() if entry["reason"] is None}
    assert kept
    assert kept <= {f"made/{at}" for at in range(10)}
    (mug,) = found["classes"]
    assert mug["kept"] == len(kept)
    # Down to the least share, each step with the distance to train and val photos.
    assert [step[0] for step in mug["curve"]] == list(range(20, 1, -1))


def test_too_few_photos_for_the_method_distance_keep_all_images() -> None:
    parameters = Select(method="distance", own_class=False)
    assert reasons_of([(1.0, 0.1)] * 6, ["a"] * 6, parameters) == [None] * 6


def test_a_class_without_references_is_not_judged() -> None:
    rows = [row("photo/2", "shoe"), row("made/0", "mug", source="a")]
    found: Any = select_rows(rows, np.array([SHOE, SHOE], np.float32), Select())
    assert found["images"]["made/0"] == {"similarity": None, "reason": None}
