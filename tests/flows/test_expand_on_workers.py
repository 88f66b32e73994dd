"""References expanded by child runs: what a child run is given, and where its result is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows import generate
from flows.config.recipe import Recipe
from flows.execution.deployment import ChildRunResult, ChildRunSpec
from flows.generate import Outcome, Placed, child_run_of, expand_on_workers
from models.data.records import Artifact, Reference
from tasks.engine.work_items import Expanded, Told, tell
from tasks.store.store import Store, open_store

KEY = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def order() -> Placed:
    photo = Artifact(
        key=KEY,
        stage="ingest",
        version=1,
        name="shoes/0",
        media="png",
        digest=KEY,
        size=1,
        parameters={},
        seed=0,
        batch_size=1,
        dtype="uint8",
        seconds=0,
    )
    return Placed(
        Reference(name="shoes/0", file="shoes/0.jpg", label="shoes", split="train", photo=photo),
        KEY,
    )


def outcome_of(
    store: Store, failure: str | None, monkeypatch: pytest.MonkeyPatch, *, corrupt: bool = False
) -> Outcome:
    def one_ended(
        deployment: str, specs: list[ChildRunSpec], max_parallel: int, **_: Any
    ) -> Iterator[ChildRunResult]:
        yield ChildRunResult(specs[0], uuid4(), failure, corrupt)

    monkeypatch.setattr(generate, "run_children", one_ended)
    (outcome,) = expand_on_workers(store, Recipe(), [order()], 1, "expand_reference/gpu")
    return outcome


def test_a_child_run_has_tags_for_people_and_small_parameters(store: Store) -> None:
    spec = child_run_of(store, Recipe(), order())
    assert spec.name == "shoes/0 · expand"
    assert set(spec.tags) == {"shoes", "multiview", "classical"}
    assert spec.parameters == {"reference": "shoes/0", "store": store.url, "order": KEY}


def test_the_result_may_come_from_the_child_run_of_another_parent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expanded = Expanded(reference="shoes/0", key=KEY, images=1, accepted=1, counts={})
    tell(store, KEY, Told(run=str(uuid4()), expanded=expanded))
    assert outcome_of(store, None, monkeypatch).expanded == expanded


def test_a_failure_keeps_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_of(store, "failed: the photo is corrupt", monkeypatch, corrupt=True)
    assert outcome.failure == "failed: the photo is corrupt"
    assert outcome.damaged


def test_a_completed_run_without_a_result_is_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not in the store" in str(outcome_of(store, None, monkeypatch).failure)
