"""Cleaning of captions: invented words, repeats, length, and the name of the class."""

import pytest

from models.captioning.cleanup import clean_caption
from models.diffusion.prompts import escape, unescape


@pytest.mark.parametrize(
    ("text", "label", "expected"),
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
def test_removes_repeats_and_invented_words(text: str, label: str, expected: str) -> None:
    assert clean_caption(text, label) == expected


def test_keeps_a_carafe() -> None:
    assert clean_caption("a carafe of water", "carafe") == "a carafe of water"


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("a white cup on a table", "mug", "mug: a white cup on a table"),
        ("a car parked on the street", "sports_car", "a sports car parked on the street"),
        ("two buses in town", "bus", "two buses in town"),
        ("a pair of red shoes", "red-shoes", "a pair of red shoes"),
        ("a t - shirt with a print", "t-shirt", "a t-shirt with a print"),
        ("a Mug.", "mug", "a Mug"),
    ],
)
def test_names_the_class(text: str, label: str, expected: str) -> None:
    assert clean_caption(text, label) == expected


@pytest.mark.parametrize("text", ["", "   ", "arafed", "a the of", '"(++)"'])
def test_a_caption_without_words_names_the_class(text: str) -> None:
    assert clean_caption(text, "apple") == "a photo of an apple"


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("a c++ (red) book", "book", "a c++ (red) book"),
        ("a c + + book ( red ) [ old ] .", "book", "a c++ book (red) [old]"),
        ("2 + 2 on a board", "board", "2 + 2 on a board"),
        ("a cup (mug)", "mug", "a cup (mug)"),
        ("a tool", "c++", "c++: a tool"),
    ],
)
def test_keeps_brackets_and_plus_signs(text: str, label: str, expected: str) -> None:
    cleaned = clean_caption(text, label)
    assert cleaned == expected
    assert unescape(escape(cleaned)) == cleaned


def test_cuts_a_long_caption_after_a_sentence() -> None:
    text = "A green car by a wall. It has " + " ".join(f"part{at}" for at in range(60))
    assert clean_caption(text, "car", max_words=20) == "A green car by a wall"
    assert len(clean_caption("mug " + "a b c d e f g h i j" * 9, "mug", max_words=8).split()) <= 8


def test_cleaning_twice_changes_nothing() -> None:
    text = "there is an arafed mug , a mug , on a table on a table"
    once = clean_caption(text, "coffee-mug")
    assert clean_caption(once, "coffee-mug") == once


def test_a_class_without_letters_is_named() -> None:
    assert clean_caption("a cat", "-") == "-: a cat"
    assert clean_caption("", "_") == "a photo of a _"
