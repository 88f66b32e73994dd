"""One child run per reference photo, a few at a time; a reference that fails, fails alone."""

import contextvars
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from flows.expand_reference import Beside, Expanded, expand_reference, key_of, stopped
from flows.progress import shown
from flows.recipe import Recipe
from models.records import Record, Reference
from tasks.expansion import load_expansion
from tasks.store import Corrupt, Missing, Store


class Outcome(Record):
    """What became of one reference: done now, done before, or failed with the reason.

    ``damaged`` tells that it failed on something that the parent run can make anew.
    """

    reference: Reference
    expanded: Expanded | None = None
    reused: bool = False
    failure: str | None = None
    damaged: bool = False


class Outcomes(Record):
    """The outcomes of a run's references, in their order."""

    outcomes: tuple[Outcome, ...]


class ReferencesFailed(RuntimeError):
    """Some references could not be expanded; the line names them and what to do."""


def fan_out(
    store: Store, recipe: Recipe, references: Sequence[Reference], beside: Beside, at_once: int
) -> list[Outcome]:
    """Expand references, ``at_once`` at a time; those that are done already get no child run.

    The outcomes are in the order of the references. Ctrl-C lets the children at work finish their
    batch and starts no further one.
    """
    outcomes: dict[str, Outcome] = {}
    stop = threading.Event()
    stopped.set(stop)
    with shown("references", len(references)) as advance:
        waiting = []
        for reference in references:
            done = _done_before(store, recipe, reference, beside)
            if done is None:
                waiting.append(reference)
            else:
                outcomes[reference.name] = done
                advance(f"{reference.name} reused")

        def child(reference: Reference) -> Outcome:
            if stop.is_set():
                return Outcome(reference=reference, failure="not started: the run was stopped")
            try:
                # Not by way of the run's state: a server that answers late gives it back without
                # the value.
                expanded = expand_reference(recipe, reference, beside, store.url)
            except Exception as error:  # whatever it is, it is this reference's alone
                return _failed(reference, error)
            return Outcome(reference=reference, expanded=expanded)

        with ThreadPoolExecutor(at_once, thread_name_prefix="reference") as pool:
            try:
                runs = [
                    pool.submit(contextvars.copy_context().run, child, reference)
                    for reference in waiting
                ]
                for run in as_completed(runs):
                    outcome = run.result()
                    outcomes[outcome.reference.name] = outcome
                    advance(f"{outcome.reference.name} {'failed' if outcome.failure else 'done'}")
            except KeyboardInterrupt:
                stop.set()
                raise
    return [outcomes[reference.name] for reference in references]


def raise_damage(outcomes: Sequence[Outcome]) -> None:
    """Stop where references failed on something that the parent run can make anew.

    Raises:
        Missing: they did; the line says on what.
    """
    for outcome in outcomes:
        if outcome.damaged:
            raise Missing(f"{outcome.reference.name}: {outcome.failure}")


def require(outcomes: Sequence[Outcome], at_least: int | None) -> None:
    """Go on only with enough references.

    Raises:
        ReferencesFailed: more failed than the recipe allows; names each and says how to go on.
    """
    failed = [outcome for outcome in outcomes if outcome.failure]
    needed = len(outcomes) if at_least is None else min(at_least, len(outcomes))
    if len(outcomes) - len(failed) >= needed:
        return
    names = "; ".join(f"{one.reference.name}: {one.failure}" for one in failed[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    raise ReferencesFailed(
        f"{len(failed)} of {len(outcomes)} references failed ({names}{more}); mend the cause and "
        "run the same command again: what is done stays done. min_references allows fewer."
    )


def _done_before(
    store: Store, recipe: Recipe, reference: Reference, beside: Beside
) -> Outcome | None:
    key = key_of(recipe, reference, beside)
    expansion = load_expansion(store, key)
    if expansion is None:
        return None
    samples = [sample for sample in expansion.samples if not sample.is_baseline]
    expanded = Expanded(
        reference=reference.name,
        key=key,
        images=sum(sample.image.rejected is None for sample in samples),
        accepted=sum(sample.accepted for sample in samples),
        counts=expansion.counts,
    )
    return Outcome(reference=reference, expanded=expanded, reused=True)


def _failed(reference: Reference, error: Exception) -> Outcome:
    failure = " ".join(str(error).split()) or type(error).__name__
    damaged = isinstance(error, Corrupt | Missing)
    return Outcome(reference=reference, failure=failure, damaged=damaged)
