"""Numbers and shares of photos per class, for splits that are given and for those that are not."""

from collections import Counter

import pytest
from pydantic import ValidationError

from models.data.splits.quotas import Pool, count_train, find_quotas
from models.data.splits.splitting import SplitParameters, SplitResult, split
from tests.models.data.splits.test_splitting import collection, collection_from, counts, given_in


def unused(result: SplitResult) -> Counter[str]:
    return Counter(entry.reason for entry in result.refused)


@pytest.mark.parametrize(
    ("sizes", "expected", "left"),
    [
        ({"val": 4, "test": 5}, {"train": 11, "val": 4, "test": 5}, 0),
        ({"val": 4, "test": 5, "train": 6}, {"train": 6, "val": 4, "test": 5}, 5),
        ({"val": 0.1, "test": 5}, {"train": 13, "val": 2, "test": 5}, 0),
        ({"train": 3}, {"train": 3, "val": 3, "test": 4}, 10),
    ],
)
def test_numbers_of_photos_per_class(
    sizes: dict[str, float], expected: dict[str, int], left: int
) -> None:
    result = split(collection(20), SplitParameters.model_validate(sizes))
    for label in ("cat", "dog"):
        assert counts(result, label) == expected
    reason = "not drawn: its class has more photos than split.train takes"
    assert unused(result) == ({reason: 2 * left} if left else {})
    assert set(result.families) == set(result.assigned)
    assert result.notes == ()


def test_a_larger_number_keeps_the_photos_of_a_smaller_one() -> None:
    chosen = []
    for number in (2, 5, 9):
        result = split(collection(30), SplitParameters(train=number, val=4, test=6))
        chosen.append({file for file, where in result.assigned.items() if where == "train"})
    assert chosen[0] < chosen[1] < chosen[2]


def test_given_splits_are_drawn_to_their_numbers() -> None:
    photos = [
        *given_in("train", collection(20)),
        *given_in("val", collection_from(100, 6)),
        *given_in("test", collection_from(200, 10)),
    ]
    result = split(photos, SplitParameters(train=15, val=3, test=8))
    assert counts(result, "dog") == {"train": 15, "val": 3, "test": 8}
    assert all(file.startswith(f"{where}/") for file, where in result.assigned.items())
    assert sorted(unused(result).values()) == [2 * 2, 2 * 3, 2 * 5]
    shares = split(photos, SplitParameters(val=0.3, test=0.3))
    assert counts(shares, "cat") == {"train": 20, "val": 6, "test": 10}


def test_val_is_taken_out_of_train_or_of_test() -> None:
    photos = given_in("train", collection(10)) + given_in("test", collection_from(300, 10))
    whole = split(photos, SplitParameters(train=10, val=5, test=5, val_from="test"))
    assert counts(whole, "cat") == {"train": 10, "val": 5, "test": 5}
    assert whole.notes == ("the folders give no val; taken out of test",)
    assert {file.partition("/")[0] for file, where in whole.assigned.items() if where == "val"} == {
        "test"
    }
    shared = split(photos, SplitParameters(val=0.3, val_from="test"))
    assert counts(shared, "cat") == {"train": 10, "val": 3, "test": 7}
    usual = split(photos, SplitParameters(val=4, test=5))
    assert counts(usual, "cat") == {"train": 6, "val": 4, "test": 5}


def test_classes_with_too_few_photos_are_named_with_what_they_have() -> None:
    photos = given_in("train", collection(8)) + given_in("test", collection_from(300, 7))
    result = split(photos, SplitParameters(train=10, val=5, test=5, val_from="test"))
    assert counts(result, "cat") == {"train": 8, "val": 2, "test": 5}
    assert result.notes == (
        "the folders give no val; taken out of test",
        "classes with fewer val photos than split.val: 'cat' 2, 'dog' 2",
        "classes with fewer train photos than split.train: 'cat' 8, 'dog' 8",
    )


def test_quotas_of_numbers_and_shares() -> None:
    assert find_quotas(10, Pool({"test": 0.2, "val": 3}, "train")) == {
        "train": 5,
        "test": 2,
        "val": 3,
    }
    assert find_quotas(4, Pool({"test": 5, "val": 0.15}, "train"))["train"] == 1
    assert count_train(4, Pool({"test": 5}, "train")) == 1
    assert count_train(750, Pool({"val": 150, "train": 600}, None)) == 600
    assert count_train(740, Pool({"val": 150, "train": 600}, None)) == 590


@pytest.mark.parametrize("size", [1.0, 1.5, 0, -3, True, "many"])
def test_refuses_what_is_neither_a_share_nor_a_number(size: object) -> None:
    with pytest.raises(ValidationError):
        SplitParameters.model_validate({"val": size})
    with pytest.raises(ValidationError, match="val \\+ test must be below 1"):
        SplitParameters(val=0.5, test=0.5)
    assert SplitParameters(val=0.5, test=40).test == 40
