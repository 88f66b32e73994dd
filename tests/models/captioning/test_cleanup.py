import pytest

from models.captioning.cleanup import class_words, clean_caption, with_article
from models.diffusion.prompts import escape, unescape


@pytest.mark.parametrize(
    ("said", "label", "expected"),
    [
        ("there is an arafed mug on a table on a table on a", "mug", "a mug on a table"),
        ("a man with a hat on top of a hat on top of a hat on", "hat",
         "a man with a hat on top of a hat"),
        ("a photo of a mug mug mug", "mug", "a photo of a mug"),
        ("an araffe sitting on a chair", "dog", "a dog sitting on a chair"),
        ("there is a araffe dog that is laying down", "dog", "a dog that is laying down"),
        ("an arafed apple", "apple", "an apple"),
    ],
)  # fmt: skip
def test_repeats_and_invented_words_go(said: str, label: str, expected: str) -> None:
    assert clean_caption(said, label) == expected


def test_a_carafe_is_no_invented_word() -> None:
    assert clean_caption("a carafe of water", "carafe") == "a carafe of water"


@pytest.mark.parametrize(
    ("said", "label", "expected"),
    [
        ("a white cup on a table", "mug", "mug: a white cup on a table"),
        ("a car parked on the street", "sports_car", "a sports car parked on the street"),
        ("two buses in town", "bus", "two buses in town"),
        ("a pair of red shoes", "red-shoes", "a pair of red shoes"),
        ("a t - shirt with a print", "t-shirt", "a t-shirt with a print"),
        ("a Mug.", "mug", "a Mug"),
    ],
)
def test_the_class_is_named(said: str, label: str, expected: str) -> None:
    assert clean_caption(said, label) == expected


@pytest.mark.parametrize("said", ["", "   ", "arafed", "a the of", '"(++)"'])
def test_a_caption_of_nothing_is_the_class(said: str) -> None:
    assert clean_caption(said, "apple") == "a photo of an apple"


@pytest.mark.parametrize(
    ("said", "label", "expected"),
    [
        ("a c++ (red) book", "book", "a c++ (red) book"),
        ("a c + + book ( red ) [ old ]", "book", "a c++ book (red) [old]"),
        ('a book with the words " hello -- " on it', "book", 'a book with the words "hello" on it'),
        ("2 + 2 on a board", "board", "2 + 2 on a board"),
        ("a cup (mug)", "mug", "a cup (mug)"),
        ("a tool", "c++", "c++: a tool"),
    ],
)
def test_brackets_and_plus_signs_stay(said: str, label: str, expected: str) -> None:
    cleaned = clean_caption(said, label)
    assert cleaned == expected
    assert unescape(escape(cleaned)) == cleaned


def test_a_long_caption_is_cut_at_a_sentence_s_end() -> None:
    said = "A green car by a wall. It has " + " ".join(f"part{at}" for at in range(60))
    assert clean_caption(said, "car", max_words=20) == "A green car by a wall"
    assert len(clean_caption("mug " + "a b c d e f g h i j" * 9, "mug", max_words=8).split()) <= 8


def test_cleaning_twice_changes_nothing() -> None:
    said = "there is an arafed mug , a mug , on a table on a table"
    once = clean_caption(said, "coffee-mug")
    assert clean_caption(once, "coffee-mug") == once


def test_classes_as_words() -> None:
    assert class_words("red-running_shoes") == "red running shoes"
    assert [with_article(one) for one in ("mug", "apple", "shoes", "glass")] == [
        "a mug", "an apple", "shoes", "a glass",
    ]  # fmt: skip
