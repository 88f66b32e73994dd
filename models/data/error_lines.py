"""Error lines that hold reasons and counts, and still fit into 300 characters."""

from collections.abc import Iterable, Mapping, Sequence

LONGEST = 299
_LEAST_SHOWN = 40


def join_reasons(start: str, reasons: Sequence[str], advice: str) -> str:
    """``start: reason; reason and 3 more; advice``, with the reasons that fit into 299 characters.

    Of a first reason that is too long, its beginning is shown. Without reasons: ``start; advice``.
    """
    if not reasons:
        return f"{start}; {advice}"
    room = LONGEST - len(start) - len(advice) - len(": ; and 99 more")
    shown: list[str] = []
    for reason in reasons:
        if len(reason) + 2 > room:
            break
        shown.append(reason)
        room -= len(reason) + 2
    if not shown:
        shown = [shorten(reasons[0], max(room, _LEAST_SHOWN))]
    left = len(reasons) - len(shown)
    more = f" and {left} more" if left else ""
    return f"{start}: {'; '.join(shown)}{more}; {advice}"


def shorten(text: str, length: int) -> str:
    """The text, or its beginning with ``...`` where it is longer."""
    return text if len(text) <= length else f"{text[: length - 3].rstrip()}..."


def count_kinds(kinds: Mapping[str, Sequence[str]], most: int = 3) -> str:
    """``12 blurred (cup/1_view0), 3 blank (cup/2_view1)``: the commonest kinds with an example.

    Args:
        kinds: the names of the examples of each kind.
        most: kinds that are shown; the others are counted.
    """
    ranked = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))
    shown = [
        f"{len(kinds[kind])} {shorten(kind, 90)} ({shorten(kinds[kind][0], 60)})"
        for kind in ranked[:most]
    ]
    rest = sum(len(kinds[kind]) for kind in ranked[most:])
    return ", ".join([*shown, *([f"{rest} for other reasons"] if rest else [])])


def group_kinds(entries: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names of each kind, from pairs of kind and name; in the order of the names."""
    kinds: dict[str, list[str]] = {}
    for kind, name in sorted(entries, key=lambda entry: entry[1]):
        kinds.setdefault(kind, []).append(name)
    return kinds
