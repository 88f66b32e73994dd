"""Results of work items: how many must succeed, and what to do where stored data is corrupt."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from models.data.error_lines import count_kinds, group_kinds, join_reasons, shorten
from tasks.engine.work_items import Result
from tasks.store.errors import MissingArtifactError, UnreadableArtifactError

log = logging.getLogger("synthset.results")

# How often one run recomputes what turns out missing or corrupt, before it gives up.
MAX_REPAIRS = 8

T = TypeVar("T")


class ItemsFailedError(RuntimeError):
    """More work items failed than the recipe allows; the line names some and says what to do.

    ``results`` are those of all items, so that the report can show what was made.
    """

    def __init__(self, line: str, results: Sequence[Result] = ()) -> None:
        super().__init__(line)
        self.results = tuple(results)


def run_with_repair(
    work: Callable[[bool], T], can_repair: Callable[[Exception], bool] = lambda _: True
) -> T:
    """Run ``work`` again while it finds stored data missing or corrupt.

    The store removes the record of such data when it is read, so that the stage which makes it
    computes it in the next attempt.

    Args:
        work: gets whether this is the last attempt.
        can_repair: whether another attempt would recompute the data that an error names.

    Raises:
        UnreadableArtifactError: the last attempt found some too, or another attempt would not help.
    """
    for _ in range(MAX_REPAIRS):
        try:
            return work(False)
        except UnreadableArtifactError as error:
            if not can_repair(error):
                raise
            log.warning("%s; recomputing it", error)
    return work(True)


def raise_corruption(results: Sequence[Result]) -> None:
    """Stop where an item failed on an input that the parent run can recompute.

    Raises:
        MissingArtifactError: one did; the line names it.
    """
    for result in results:
        if result.corrupt_input:
            raise MissingArtifactError(f"{result.item}: {result.failure}")


def require_enough_results(results: Sequence[Result], at_least: int | None) -> None:
    """Return if enough items succeeded.

    Args:
        at_least: how many must have succeeded; None: all.

    Raises:
        ItemsFailedError: too many failed.
    """
    failed = [result for result in results if result.failure]
    needed = len(results) if at_least is None else min(at_least, len(results))
    if len(results) - len(failed) >= needed:
        return
    by_class: dict[str, list[tuple[str, str]]] = {}
    for result in failed:
        by_class.setdefault(result.label, []).append((str(result.failure), result.item))
    reasons = [
        f"{label!r}: {count_kinds(group_kinds((shorten(why, 90), item) for why, item in found))}"
        for label, found in sorted(by_class.items())
    ]
    advice = (
        "fix the cause and run the same command again, which keeps everything that is done; or set"
        " min_references lower"
    )
    line = join_reasons(f"{len(failed)} of {len(results)} references failed", reasons, advice)
    raise ItemsFailedError(line, results)
