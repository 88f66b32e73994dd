"""Error lines hold as many reasons as fit into 300 characters."""

from models.data.error_lines import LONGEST, count_kinds, group_kinds, join_reasons, shorten


def test_names_all_reasons_that_fit_and_counts_the_others() -> None:
    assert join_reasons("it failed", [], "try again") == "it failed; try again"
    assert join_reasons("it failed", ["a", "b"], "try again") == "it failed: a; b; try again"
    line = join_reasons("it failed", [f"{number} " + 90 * "x" for number in range(9)], "try again")
    assert line.startswith("it failed: 0 xxx")
    assert line.endswith("x and 7 more; try again")
    assert len(line) <= LONGEST


def test_cuts_a_reason_that_is_too_long_and_keeps_the_advice() -> None:
    line = join_reasons("it failed", [500 * "x"], "try again")
    assert line.endswith("x...; try again")
    assert len(line) <= LONGEST
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abc..."


def test_counts_the_commonest_kinds_with_an_example() -> None:
    kinds = group_kinds(
        [("blank", "cup/9"), ("blurred", "cup/2"), ("blurred", "cup/1"), ("cut", "a"), ("dim", "b")]
    )
    assert count_kinds(kinds, most=2) == "2 blurred (cup/1), 1 blank (cup/9), 2 for other reasons"
    assert count_kinds({}) == ""
