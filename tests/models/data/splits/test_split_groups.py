"""The split keeps the photos of a group together, as it keeps near-duplicates together."""

import hashlib
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.records import Split
from models.data.splits.near_duplicates import HashedPhoto, group_near_duplicates
from models.data.splits.splitting import SplitParameters, split

# A busy machine must not fail these tests.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALL_BITS = 2**256 - 1


def make_photo(
    number: int, label: str, group: str | None, scene: int, given_split: Split | None = None
) -> HashedPhoto:
    """A photo; photos of one scene are near-duplicates, and photos of two scenes are not."""
    value = int.from_bytes(hashlib.sha256(f"scene {scene}".encode()).digest(), "little")
    value ^= 1 << (number % 8)
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
    file = f"{number:04d}.jpg"
    return HashedPhoto(file, label, given_split, digest, value, value ^ ALL_BITS, group)


@st.composite
def collections(draw: st.DrawFn, with_splits: bool = False) -> list[HashedPhoto]:
    """Photos of two classes; many share a group, some a scene. Each class has 6 single photos."""
    names: tuple[Split, ...] = ("train", "val", "test")
    splits = st.sampled_from(names) if with_splits else st.none()
    photos = []
    for number in range(12):
        label = "cup" if number % 2 else "jug"
        given_split = names[number // 2 % 3] if with_splits else None
        photos.append(make_photo(number, label, None, 1000 + number, given_split))
    for number in range(12, 12 + draw(st.integers(0, 40))):
        group = draw(st.one_of(st.none(), st.integers(0, 8).map(str)))
        scene = draw(st.one_of(st.just(2000 + number), st.integers(0, 5)))
        label = draw(st.sampled_from(("cup", "jug")))
        photos.append(make_photo(number, label, group, scene, draw(splits)))
    return photos


def splits_of_groups(photos: list[HashedPhoto], assigned: dict[str, Split]) -> list[set[Split]]:
    by_group: dict[str, set[Split]] = defaultdict(set)
    for photo in photos:
        if photo.group is not None and photo.file in assigned:
            by_group[photo.group].add(assigned[photo.file])
    return list(by_group.values())


@relaxed
@given(collections())
def test_keeps_groups_and_near_duplicates_in_one_split(photos: list[HashedPhoto]) -> None:
    result = split(photos, SplitParameters())
    assert all(len(splits) == 1 for splits in splits_of_groups(photos, result.assigned))
    used = [photo for photo in photos if photo.file in result.assigned]
    for group in group_near_duplicates(used, SplitParameters().near_duplicate_bits):
        assert len({result.assigned[used[index].file] for index in group}) == 1
    assert set(result.assigned) | {refused.file for refused in result.refused} == {
        photo.file for photo in photos
    }


@relaxed
@given(collections())
def test_every_class_is_in_every_split(photos: list[HashedPhoto]) -> None:
    result = split(photos, SplitParameters())
    label_of = {photo.file: photo.label for photo in photos}
    found = {(label_of[file], name) for file, name in result.assigned.items()}
    assert found == {(label, name) for label in ("cup", "jug") for name in ("train", "val", "test")}


@relaxed
@given(collections(with_splits=True))
def test_keeps_given_splits_and_refuses_groups_that_span_them(photos: list[HashedPhoto]) -> None:
    result = split(photos, SplitParameters())
    for photo in photos:
        assert result.assigned.get(photo.file, photo.given_split) == photo.given_split
        if photo.given_split == "test":
            assert photo.file in result.assigned
    assert all(len(splits) == 1 for splits in splits_of_groups(photos, result.assigned))


def test_names_the_test_photo_of_the_same_group() -> None:
    photos = [
        make_photo(number, "cup", None, number, name)
        for number, name in enumerate(("train", "val", "test"))
    ]
    photos.append(make_photo(3, "cup", "a", 3, "train"))
    photos.append(make_photo(4, "cup", "a", 4, "test"))
    refused = split(photos, SplitParameters()).refused
    assert [(refusal.file, refusal.reason) for refusal in refused] == [
        ("0003.jpg", "of the same scene as the test photo 0004.jpg")
    ]


@pytest.mark.parametrize("seed", range(5))
def test_holds_out_close_to_the_wanted_share_of_each_class(seed: int) -> None:
    """Forty photos hold a rare object each and ten common ones."""
    photos = []
    for number in range(40):
        for part in range(11):
            label = "rare" if part == 0 else "common"
            key = 100 * number + part
            photos.append(make_photo(key, label, f"{number}", key))
    result = split(photos, SplitParameters(val=0.15, test=0.2, seed=seed))
    for label, total in (("rare", 40), ("common", 400)):
        files = {photo.file for photo in photos if photo.label == label}
        held = [name for file, name in result.assigned.items() if file in files]
        assert len(held) == total
        assert held.count("test") == 0.2 * total
        assert held.count("val") == 0.15 * total
