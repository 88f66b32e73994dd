"""One child run per reference photo, a few at a time; a reference that fails, fails alone."""

import contextvars
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from prefect import tags

from flows.config.recipe import Recipe
from flows.execution.deployment import Outcome, Placed, dispatch, tags_of
from flows.execution.progress import shown
from flows.generators.multiview import expand_reference, key_of, stopped
from models.data.records import Record, Reference
from tasks.engine.results import Expansion, load_expansions
from tasks.engine.work_items import Expanded, Order, SharedInputs, save_order, save_setting
from tasks.store.errors import CorruptArtifactError, MissingArtifactError
from tasks.store.store import Store

# A bucket answers many small puts at a time.
PLACERS = 8


class Outcomes(Record):
    """The outcomes of a run's references, in their order."""

    outcomes: tuple[Outcome, ...]


class ReferencesFailed(RuntimeError):
    """Some references could not be expanded; the line names them and what to do."""


def fan_out(
    store: Store,
    recipe: Recipe,
    references: Sequence[Reference],
    beside: SharedInputs,
    at_once: int,
    deployment: str | None = None,
) -> list[Outcome]:
    """Expand references, ``at_once`` at a time; those that are done already get no child run.

    Args:
        store: where everything lies.
        recipe: the run's recipe.
        references: the photos to expand.
        beside: what they are expanded beside.
        at_once: child runs at work, or waiting for a worker, at a time.
        deployment: whose workers expand them; None: this process. Ctrl-C then lets the children at
            work finish their batch and starts no further one.

    Returns:
        The outcomes in the order of the references.
    """
    outcomes: dict[str, Outcome] = {}
    with shown("references", len(references)) as advance:
        orders = {}
        keys = [key_of(recipe, reference, beside) for reference in references]
        found = load_expansions(store, keys)
        for reference, key, expansion in zip(references, keys, found, strict=True):
            if expansion is None:
                orders[reference.name] = Placed(reference, key)
            else:
                outcomes[reference.name] = _done_before(expansion, key, reference)
                advance(f"{reference.name} cached")
        place_orders(store, recipe, list(orders.values()), beside)
        expanded = (
            expand_here(store, recipe, list(orders.values()), at_once)
            if deployment is None
            else dispatch(store, recipe, list(orders.values()), at_once, deployment)
        )
        for outcome in expanded:
            outcomes[outcome.reference.name] = outcome
            advance(f"{outcome.reference.name} {'failed' if outcome.failure else 'done'}")
    return [outcomes[reference.name] for reference in references]


def place_orders(
    store: Store, recipe: Recipe, placed: Sequence[Placed], beside: SharedInputs
) -> None:
    """Keep in the store what the child runs are to do."""
    if not placed:
        return
    setting = save_setting(store, recipe.model_dump(mode="json"), beside)

    def keep(one: Placed) -> None:
        save_order(store, one.key, Order(reference=one.reference, setting=setting))

    with ThreadPoolExecutor(PLACERS, thread_name_prefix="order") as pool:
        list(pool.map(keep, placed))


def expand_here(
    store: Store, recipe: Recipe, placed: Sequence[Placed], at_once: int
) -> Iterator[Outcome]:
    """Child runs in threads of this process; outcomes as they come."""
    stop = threading.Event()
    stopped.set(stop)

    def child(one: Placed) -> Outcome:
        if stop.is_set():
            return Outcome(reference=one.reference, failure="not started: the run was stopped")
        try:
            # Not by way of the run's state: a server that answers late gives it back without the
            # value.
            with tags(*tags_of(recipe, one.reference)):
                expanded = expand_reference(one.reference.name, store.url, one.key)
        except Exception as error:  # whatever it is, it is this reference's alone
            return _failed(one.reference, error)
        return Outcome(reference=one.reference, expanded=expanded)

    with ThreadPoolExecutor(at_once, thread_name_prefix="reference") as pool:
        try:
            runs = [pool.submit(contextvars.copy_context().run, child, one) for one in placed]
            for run in as_completed(runs):
                yield run.result()
        except BaseException:
            stop.set()
            raise


def raise_damage(outcomes: Sequence[Outcome]) -> None:
    """Stop where references failed on something that the parent run can make anew.

    Raises:
        MissingArtifactError: they did; the line says on what.
    """
    for outcome in outcomes:
        if outcome.damaged:
            raise MissingArtifactError(f"{outcome.reference.name}: {outcome.failure}")


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


def _done_before(expansion: Expansion, key: str, reference: Reference) -> Outcome:
    samples = [sample for sample in expansion.samples if not sample.is_baseline]
    expanded = Expanded(
        reference=reference.name,
        key=key,
        images=sum(sample.image.reject_reason is None for sample in samples),
        accepted=sum(sample.accepted for sample in samples),
        counts=expansion.counts,
    )
    return Outcome(reference=reference, expanded=expanded, cached=True)


def _failed(reference: Reference, error: Exception) -> Outcome:
    failure = " ".join(str(error).split()) or type(error).__name__
    damaged = isinstance(error, CorruptArtifactError | MissingArtifactError)
    return Outcome(reference=reference, failure=failure, damaged=damaged)
