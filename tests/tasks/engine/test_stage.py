import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from pydantic import Field

from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput, one_job_per_input
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.stage import stage
from tasks.store.errors import UnreadableArtifactError
from tasks.store.store import Store, open_store
from tests.task_runs import ended_task_runs


class Brighten(Record):
    by: int = Field(10, ge=0)


@stage("brighten", version=1)
def brighten(inputs: Sequence[StageInput], parameters: Brighten) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(item.load() + np.uint8(parameters.by), metadata={"by": parameters.by})


def copies(_parameters: Record, images: Sequence[Artifact]) -> list[Job]:
    return [Job((image,), {"copy": copy}) for image in images for copy in range(3)]


@stage("grain", version=1, plan=copies, batch_size=2)
def grain(inputs: Sequence[StageInput], parameters: Brighten) -> Iterator[StageOutput]:
    for item in inputs:
        if item.job.variant["copy"] == 2:
            yield StageOutput(reject_reason="copies numbered 2 are unwanted")
        else:
            noise = item.rng().integers(0, 9, item.load().shape, dtype=np.uint8)
            yield StageOutput(item.load() // 2 + noise)


@stage(
    "photo", version=1, plan=lambda _, names: [Job((), {"name": name}, name=name) for name in names]
)
def photo(inputs: Sequence[StageInput], parameters: Brighten) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(item.rng().integers(0, 200, (8, 6, 3), dtype=np.uint8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def begin(store: Store) -> tuple[RunContext, list[Artifact]]:
    context = RunContext(store, "test")
    return context, photo.run(context, Brighten(), ["shoes/a", "shoes/b"])


def test_computes_nothing_twice(store: Store) -> None:
    context, photos = begin(store)
    first = brighten.run(context, Brighten(), photos)
    again = RunContext(store, "again")
    second = brighten.run(again, Brighten(), photos)
    assert second == first
    assert context.counts["brighten"] == StageCount(computed=2)
    assert again.counts["brighten"] == StageCount(cached=2)


def test_pixels_come_back_as_they_were_made(store: Store) -> None:
    context, photos = begin(store)
    made = brighten.run(context, Brighten(by=7), photos)
    fresh = RunContext(store, "fresh")
    expected = fresh.load(photos[0]) + np.uint8(7)
    np.testing.assert_array_equal(fresh.load(made[0]), expected)
    assert made[0].metadata == {"by": 7}
    assert made[0].name == "shoes/a"


def test_a_changed_parameter_recomputes_only_what_depends_on_it(store: Store) -> None:
    context, photos = begin(store)
    grain.run(context, Brighten(), brighten.run(context, Brighten(by=1), photos))
    again = RunContext(store, "again")
    _, photos = begin(store)
    grain.run(again, Brighten(), brighten.run(again, Brighten(by=2), photos))
    assert again.counts["brighten"].computed == 2
    assert again.counts["grain"].computed == 6


def test_seed_and_bytes_depend_neither_on_order_nor_on_batch(tmp_path: Path) -> None:
    forward, backward = (open_store(tmp_path / name) for name in ("forward", "backward"))
    context, photos = begin(forward)
    other, same_photos = begin(backward)
    made = grain.run(context, Brighten(), photos)
    singly = [
        artifact
        for image in reversed(same_photos)
        for artifact in grain.run(other, Brighten(), [image])
    ]
    assert {(image.key, image.digest, image.seed) for image in made} == {
        (image.key, image.digest, image.seed) for image in singly
    }


def test_a_rejected_output_is_stored_with_its_reason_and_not_returned(store: Store) -> None:
    context, photos = begin(store)
    made = grain.run(context, Brighten(), photos)
    assert [image.variant["copy"] for image in made] == [0, 1, 0, 1]
    rejects = [image for image in context.made.values() if image.reject_reason]
    assert [image.reject_reason for image in rejects] == ["copies numbered 2 are unwanted"] * 2
    again = RunContext(store, "again")
    grain.run(again, Brighten(), photos)
    assert again.counts["grain"] == StageCount(cached=6, rejected=2)


def test_lineage_leads_back_to_the_photo(store: Store) -> None:
    context, photos = begin(store)
    last = grain.run(context, Brighten(), brighten.run(context, Brighten(), photos))[-1]
    assert [artifact.stage for artifact in context.lineage(last)] == ["photo", "brighten", "grain"]
    assert context.lineage(last)[0] == photos[1]


def test_a_corrupt_input_is_never_used_and_is_computed_again(store: Store, tmp_path: Path) -> None:
    _, photos = begin(store)
    blob = next((tmp_path / "store" / "photo").rglob(f"{photos[0].key}.png"))
    blob.write_bytes(b"\x00" * photos[0].size)
    with pytest.raises(UnreadableArtifactError):
        brighten.run(RunContext(store, "again"), Brighten(), photos)
    repaired, photos_again = begin(store)
    assert repaired.counts["photo"] == StageCount(computed=1, cached=1)
    assert [found.digest for found in photos_again] == [found.digest for found in photos]
    assert len(brighten.run(repaired, Brighten(), photos_again)) == 2


def test_partners_are_paired_by_name_and_variant_not_by_position(store: Store) -> None:
    context, photos = begin(store)
    made = brighten.run(context, Brighten(), photos)
    jobs = one_job_per_input(Brighten(), photos, made[1:])
    assert [[image.name for image in job.inputs] for job in jobs] == [["shoes/b", "shoes/b"]]


def test_a_record_under_another_name_keeps_its_bytes_and_takes_the_new_name(store: Store) -> None:
    context, photos = begin(store)
    brighten.run(context, Brighten(), photos)
    renamed = [found.model_copy(update={"name": f"boots/{found.key[:4]}"}) for found in photos]
    again = RunContext(store, "again")
    made = brighten.run(again, Brighten(), renamed)
    assert again.counts["brighten"].computed == 0
    assert [artifact.name for artifact in made] == [artifact.name for artifact in renamed]


def test_a_cancelled_run_stops_between_batches_and_keeps_what_it_published(store: Store) -> None:
    stopped = threading.Event()
    _, photos = begin(store)
    context = RunContext(store, "cancelled", is_cancelled=stopped.is_set)

    @stage("slow", version=1, plan=copies, batch_size=2)
    def slow(inputs: Sequence[StageInput], parameters: Brighten) -> Iterator[StageOutput]:
        for item in inputs:
            stopped.set()
            yield StageOutput(item.load())

    with pytest.raises(KeyboardInterrupt):
        slow.run(context, Brighten(), photos)
    again = RunContext(store, "again")
    slow.run(again, Brighten(), photos)
    assert again.counts["slow"] == StageCount(computed=4, cached=2)


def test_two_workers_do_the_same_work_once(store: Store) -> None:
    _, photos = begin(store)
    contexts = [RunContext(store, f"worker {number}") for number in range(2)]
    workers = [
        threading.Thread(target=grain.run, args=(context, Brighten(), photos))
        for context in contexts
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(context.counts["grain"].computed for context in contexts) == [0, 6]


def test_a_worker_that_starts_later_waits_for_the_same_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names_of_leases(store: Store, done: int) -> list[str]:
        """The leases of a run of all six copies, of which some are done."""
        context, photos = begin(store)
        grain.run(context, Brighten(), photos[:done])
        names: list[str] = []
        lease = store.lease

        def noted(name: str) -> contextlib.AbstractContextManager[None]:
            names.append(name)
            return lease(name)

        monkeypatch.setattr(store, "lease", noted)
        grain.run(RunContext(store, "later"), Brighten(), photos)
        return names

    first = names_of_leases(open_store(tmp_path / "first"), done=0)
    assert len(first) == 1
    assert names_of_leases(open_store(tmp_path / "second"), done=1) == first


def test_in_a_flow_a_stage_is_a_task_run_and_reuse_shows_as_cached(
    store: Store, prefect_server: None
) -> None:
    from prefect import flow
    from prefect.context import FlowRunContext

    @flow
    def call_twice() -> UUID:
        context, photos = begin(store)
        for _ in range(2):
            brighten(context, Brighten(), photos)
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.id

    runs = ended_task_runs(call_twice(), 2)
    assert sorted((run.name, run.state_name) for run in runs) == [
        ("brighten · test", "Cached"),
        ("brighten · test", "Completed"),
    ]


def test_records_are_small_json(store: Store, tmp_path: Path) -> None:
    begin(store)
    records = [
        path for path in (tmp_path / "store" / "photo").rglob("*") if path.suffix == ".record"
    ]
    assert len(records) == 2
    for path in records:
        content = json.loads(path.read_text())
        assert len(path.read_text()) < 1500
        assert content["stage"] == "photo"
