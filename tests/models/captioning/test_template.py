"""Template captions: class names, articles, plurals and the colour."""

import numpy as np
import pytest

from models.captioning.template import class_words, with_article, with_class, write_caption

TEMPLATE = "a photo of {a}{colour} {label}"


def paint(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("mug", "a photo of a red mug"),
        ("bus", "a photo of a red bus"),
        ("iris", "a photo of a red iris"),
        ("wine-glass", "a photo of a red wine glass"),
        ("running_shoes", "a photo of red running shoes"),
        ("_mug", "a photo of a red mug"),
        ("-", "a photo of a red -"),
        ("猫 🐱", "a photo of a red 猫 🐱"),
    ],
)
def test_writes_the_class_and_its_colour(label: str, caption: str) -> None:
    assert write_caption(label, paint((195, 35, 40)), TEMPLATE) == caption


def test_a_class_may_be_called_like_a_placeholder() -> None:
    red = paint((195, 35, 40))
    assert write_caption("{colour}", red, TEMPLATE) == "a photo of a red {colour}"
    assert with_class("{a}{label}", "{a}") == "a {a}"


def test_the_article_fits_the_next_word() -> None:
    assert write_caption("mug", paint((238, 128, 35)), TEMPLATE) == "a photo of an orange mug"
    assert write_caption("apple", paint((195, 35, 40)), "{a}{label}, {colour}") == "an apple, red"


def test_the_object_decides_the_colour() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :, 2] = 190
    rgba[2:6, 2:6] = (60, 150, 70, 255)
    assert write_caption("mug", rgba, "{colour}") == "green"


def test_fills_the_class_and_its_article_in() -> None:
    assert class_words("red-running_shoes") == "red running shoes"
    assert with_class("{a}{label} on a beach", "old mug") == "an old mug on a beach"
    assert with_class("{a}{label} on a beach", "shoes") == "shoes on a beach"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mug", "a mug"),
        ("apple", "an apple"),
        ("shoes", "shoes"),
        ("glass", "a glass"),
        ("bus", "a bus"),
    ],
)
def test_puts_the_article_in_front(name: str, expected: str) -> None:
    assert with_article(name) == expected
