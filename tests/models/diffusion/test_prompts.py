"""Prompts: escaping, weights, and the notation of weights in other programs."""

import pytest

from models.diffusion.prompts import (
    Part,
    count_tokens,
    escape,
    to_compel,
    unescape,
    weighted_prompt,
    without_weights,
)

CAPTIONS = (
    "C++ book (red)",
    'a "red" car, 3.5 x=y, well-known - and...',
    "ends with a dash-",
    "smile :) :-( a.swap(b) (x, y).blend(1, 2)",
    "an open ( bracket, withLora(a, 1)",
)


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("weight", [1.0, 1.3, 0.7])
def test_compel_reads_an_escaped_caption_as_plain_text(caption: str, weight: float) -> None:
    compel = pytest.importorskip("compel")
    prompt = weighted_prompt(Part(escape(caption), weight), Part("(on grass)1.1"))
    parsed = compel.Compel.parse_prompt_string(prompt)
    assert len(parsed.prompts) == 1
    first, *rest = parsed.prompts[0].children
    assert unescape(first.text) == caption
    assert (first.weight, [(part.text, part.weight) for part in rest]) == (
        weight,
        [("on grass", 1.1)],
    )


def test_escaping_removes_what_compel_cannot_express() -> None:
    assert escape("a \\ b\n\tc\x0bd") == "a b c d"
    assert unescape(escape("1+1=2 (yes)")) == "1+1=2 (yes)"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("(red:1.3) car", "(red)1.3 car"),
        ("a (big (red:1.5) car:1.1) road", "a (big (red)1.5 car)1.1 road"),
        ("(((a:1.1):1.2) : 1.30)", "(((a)1.1)1.2)1.3"),
        ("(a (b)1.4 c:.5)", "(a (b)1.4 c)0.5"),
        ("(a (b c) d:1.3)", "(a (b c) d)1.3"),
        ("\\(a:1.3\\) b", "\\(a:1.3\\) b"),
        ("(note: yes) ratio 4:3", "(note: yes) ratio 4:3"),
        ("a) (b:2", "a\\) \\(b:2"),
        ("smile :) ((red:1.2) mug", "smile :\\) \\((red)1.2 mug"),
        ('a 5" "wide" plate (new:1.1)', 'a 5" "wide\\" plate (new)1.1'),
        ("(red)1.4 car++", "(red)1.4 car++"),
    ],
)
def test_converts_weights_to_compel(written: str, expected: str) -> None:
    assert to_compel(written) == expected
    assert to_compel(expected) == expected


@pytest.mark.parametrize(
    "written",
    [
        "(red:1.3) car",
        "a (big (red)1.5 car)1.1 road++",
        "a T-shirt-- (size-- M)+, x+y - z",
        "smile :) (red)1.2",
        'a "5 by 5" plate',
        '("a b")++ "c d"1.3 e',
        "C\\+\\+ (b\\))1.2",
        'a 5" plate (on grass)1.1',
        "a++b (c).5 d",
        "5 + 3 = 8.",
    ],
)
def test_words_without_weights_are_those_that_compel_reads(written: str) -> None:
    compel = pytest.importorskip("compel")
    (parsed,) = compel.Compel.parse_prompt_string(to_compel(written)).prompts
    words = " ".join(unescape(part.text) for part in parsed.children)
    assert without_weights(written).replace(" ", "") == words.replace(" ", "")


def test_a_blend_without_weights_lists_all_its_prompts() -> None:
    assert without_weights('("a cat", "a (big:1.2) dog").blend(0.7, 0.3)') == "a cat, a big dog"


@pytest.mark.parametrize("caption", CAPTIONS)
def test_an_escaped_caption_without_weights_is_the_caption(caption: str) -> None:
    assert without_weights(weighted_prompt(Part(escape(caption), 1.2))) == caption


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("a photo of a red mug", 6),
        ("it's 2024!", 7),
        ("(red)1.3 car", 7),
        ("一张红色", 4),
        (" ".join(["word"] * 80), 80),
    ],
)
def test_counts_no_more_tokens_than_clip(prompt: str, tokens: int) -> None:
    assert count_tokens(prompt) == tokens


def test_joins_parts_with_their_weights() -> None:
    parts = Part("a shoe", 1.2), Part(""), Part("on grass"), Part("  sharp ", 0.9)
    assert weighted_prompt(*parts) == "(a shoe)1.2 on grass (sharp)0.9"
    with pytest.raises(ValueError, match=r"weight -1.* of 'a': give a number"):
        weighted_prompt(Part("a", -1.0))
