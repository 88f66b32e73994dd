"""Names that people give, made fit for every file system, archive and reader."""

import unicodedata

import pytest

from models.data.names import check_label, comparable, make_key, safe_stem


@pytest.mark.parametrize("name", ["cat", "Big Cat", "t-shirt", "Ärger", "x" * 100, "v1.2", "コン"])
def test_accepts_labels(name: str) -> None:
    assert check_label(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", ".cat", "cat.", "cat ", " cat", "a/b", "a\\b", "a:b", "what?", "a*"),
        *("<a>", "a|b", 'a"b', "a\nb", "a\x7fb", "a\u202eb", "a\u2028b", "a\udce9"),
        *("CON", "nul", "com1", "LPT9.cat", "x" * 101, "ö" * 51, "__cat", "cat\xa0", "\u3000cat"),
    ],
)
def test_refuses_labels_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="rename the class folder") as caught:
        check_label(name)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_refusal_of_a_long_name_is_short() -> None:
    with pytest.raises(ValueError, match="longer than 100 bytes") as caught:
        check_label("ö" * 120)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "stem", ["a", "IMG_0001 (2)", "猫 🐱", "قطة", "a.b", "[red]", "-rf", "$(id)"]
)
def test_ordinary_stems_stay_as_they_are(stem: str) -> None:
    assert safe_stem(stem) == stem


@pytest.mark.parametrize(
    ("stem", "safe"),
    [
        ("12:30?", "12_30_"),
        ("a. ", "a._"),
        (".hidden", "_hidden"),
        ("con", "_con"),
        ("LPT1.x", "_LPT1.x"),
        ("a\nb\u202ec", "a_b_c"),
        (unicodedata.normalize("NFD", "é"), "é"),
    ],
)
def test_stems_get_characters_that_every_system_takes(stem: str, safe: str) -> None:
    assert safe_stem(stem) == safe
    assert safe_stem(safe) == safe


@pytest.mark.parametrize("letter", ["x", "ö", "猫", "🐱"])
def test_long_stems_are_cut_between_characters_and_stay_apart(letter: str) -> None:
    first, second = safe_stem(letter * 120), safe_stem(letter * 121)
    assert first != second
    assert all(len(name.encode()) <= 100 for name in (first, second))
    assert first.startswith(letter)
    first.encode()


def test_names_are_compared_as_people_see_them() -> None:
    assert comparable("Straße") == comparable("STRASSE")
    assert comparable("cat\u200b") == comparable("cat")
    assert comparable("a b") != comparable("a_b")


def test_keys_hold_plain_characters_and_never_collide() -> None:
    names = ["训练", "测试", "A b", "a_b", "a-b", "x" * 300, "x" * 301, ""]
    keys = [make_key(name) for name in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(key) <= 70
    assert make_key("Mug/A b").startswith("mug-a-b-")
