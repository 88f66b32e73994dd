"""Work items on workers: what a child run is given, and where its result is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows.execution import run_items as generate
from flows.execution.deployment import ChildRunResult, ChildRunSpec
from flows.execution.run_items import Execution
from models.data.records import Annotation, Artifact, SourceImage
from tasks.engine.item_documents import save_result
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import Result, WorkItem
from tasks.store.store import Store, open_store

KEY = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def make_item() -> WorkItem:
    photo = Artifact(
        key=KEY, stage="ingest", version=1, name="shoes/0", media="png", digest=KEY, size=1
    )
    source = SourceImage(
        name="shoes/0",
        file="shoes/0.jpg",
        split="train",
        image=photo,
        annotations=(Annotation(label="shoes"),),
    )
    return WorkItem(
        generator="multiview", phase="expand", name="shoes/0", key=KEY, sources=(source,)
    )


def result_of(
    store: Store, failure: str | None, monkeypatch: pytest.MonkeyPatch, *, corrupt: bool = False
) -> Result:
    def one_ended(
        deployment: str, specs: list[ChildRunSpec], max_parallel: int, **_: Any
    ) -> Iterator[ChildRunResult]:
        yield ChildRunResult(specs[0], uuid4(), failure, corrupt)

    monkeypatch.setattr(generate, "run_children", one_ended)
    execution = Execution(generate_on="generate_item/gpu")
    (result,) = generate._map_items(
        RunContext(store, "run"), [make_item()], execution, lambda *_: pytest.fail("ran here")
    )
    return result


def test_a_child_run_has_tags_for_people_and_small_parameters(store: Store) -> None:
    spec = generate._child_run(store, make_item())
    assert spec.name == "shoes/0 · expand"
    assert {"shoes", "multiview"} <= set(spec.tags)
    assert spec.parameters == {
        "name": "shoes/0",
        "phase": "expand",
        "store": store.url,
        "key": KEY,
    }


def test_the_result_may_come_from_the_child_run_of_another_parent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Result(key=KEY, item="shoes/0", made=4, accepted=3, run=str(uuid4()))
    save_result(store, saved)
    assert result_of(store, None, monkeypatch) == saved


def test_a_failure_keeps_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(store, "failed: the photo is corrupt", monkeypatch, corrupt=True)
    assert result.failure == "failed: the photo is corrupt"
    assert result.corrupt_input


def test_a_completed_run_without_a_result_is_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not in the store" in str(result_of(store, None, monkeypatch).failure)
