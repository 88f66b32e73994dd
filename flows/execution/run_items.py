"""Where work items run: in threads of this process, or as child runs on workers."""

from collections.abc import Callable, Iterator, Sequence

from prefect import tags
from pydantic import Field

from flows.execution.deployment import ChildRunSpec, failure_of, run_children
from flows.execution.local import map_in_threads
from flows.execution.progress import show_progress
from models.data.records import Record
from tasks.engine.item_documents import load_record, load_records, load_result, save_items
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import ItemConfig, Result, WorkItem, failed_result, result_of
from tasks.store.errors import UnreadableArtifactError
from tasks.store.store import Store


class Execution(Record):
    """Where work items and trainings run, and how many at a time."""

    limit: int | None = Field(None, ge=1, description="Use at most so many reference photos.")
    max_parallel: int = Field(1, ge=1, description="Work items at a time.")
    generate_on: str | None = Field(
        None,
        description="Deployment whose workers run the work items, such as generate_item/gpu; none: "
        "this process.",
    )
    train_on: str | None = Field(
        None, description="Deployment that trains, such as train_models/gpu; none: this process."
    )


def run_items(
    run: RunContext,
    items: Sequence[WorkItem],
    config: ItemConfig,
    execution: Execution,
    work_here: Callable[[str, str, str, str], Result],
) -> list[Result]:
    """The results of work items, in their order; an item that is done starts nothing.

    Args:
        work_here: the flow of a child run, for items that run in this process.
    """
    results: dict[str, Result] = {}
    title = f"{items[0].generator} · {items[0].phase}" if items else "items"
    with show_progress(title, len(items)) as advance:
        records = load_records(run.store, [item.key for item in items])
        for item, record in zip(items, records, strict=True):
            if record is not None:
                cached = item.key not in run.fresh_items
                results[item.key] = result_of(item, record).model_copy(update={"cached": cached})
                advance(f"{item.name} {'cached' if cached else 'done'}")
        missing = [item for item in items if item.key not in results]
        save_items(run.store, missing, config)
        for result in _map_items(run, missing, execution, work_here):
            run.fresh_items.add(result.key)
            results[result.key] = result
            advance(f"{result.item} {'failed' if result.failure else 'done'}")
    for result in results.values():
        run.add_counts(result.key, result.counts)
    # An item without a result did not start, because the run is being stopped.
    return [results[item.key] for item in items if item.key in results]


def _map_items(
    run: RunContext,
    items: Sequence[WorkItem],
    execution: Execution,
    work_here: Callable[[str, str, str, str], Result],
) -> Iterator[Result]:
    """Run work items here or on workers: the one place where this is decided."""
    if execution.generate_on is None:

        def work(item: WorkItem) -> Result:
            # The value of the call, not of the run's state: a server that answers late returns a
            # state without its value.
            with tags(*_tags(item)):
                try:
                    return work_here(item.name, item.phase, run.store.url, item.key)
                except Exception as error:
                    failure = " ".join(str(error).split()) or type(error).__name__
                    return failed_result(item, failure, isinstance(error, UnreadableArtifactError))

        yield from map_in_threads(items, work, execution.max_parallel)
        return
    by_key = {item.key: item for item in items}
    ended = run_children(
        execution.generate_on,
        [_child_run(run.store, item) for item in items],
        execution.max_parallel,
        is_done=lambda spec: load_record(run.store, spec.key) is not None,
        failure_of=lambda spec, run_id: failure_of(run.store, spec.key, run_id),
    )
    for child in ended:
        item = by_key[child.spec.key]
        result = load_result(run.store, item.key) if child.failure is None else None
        # The child run of another parent may have written it: the same item has the same result.
        if result is None or result.failure is not None:
            failure = child.failure or "completed, but its result is not in the store; run again"
            result = failed_result(item, failure, child.corrupt_input)
        yield result


def _child_run(store: Store, item: WorkItem) -> ChildRunSpec:
    work = {"name": item.name, "phase": item.phase, "store": store.url, "key": item.key}
    return ChildRunSpec(item.key, f"{item.name} · {item.phase}", work, _tags(item))


def _tags(item: WorkItem) -> tuple[str, ...]:
    labels = sorted({note.label for source in item.sources for note in source.annotations})
    return (*labels[:3], item.generator)
