"""Work items, their results and their records, as documents that any worker can read."""

from pathlib import Path
from typing import Any

import pytest

from models.data.records import Annotation, Artifact, Sample, SourceImage
from tasks.engine.item_documents import (
    artifact_ids,
    load_item,
    load_record,
    load_records,
    load_result,
    load_samples,
    save_items,
    save_result,
)
from tasks.engine.run_context import StageCount
from tasks.engine.run_documents import pin_artifacts, pinned_artifacts
from tasks.engine.work_items import (
    GenerationRecord,
    ItemConfig,
    Result,
    SharedInputs,
    WorkItem,
    item_key,
)
from tasks.store.errors import MissingArtifactError
from tasks.store.layout import digest_of
from tasks.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def artifact(name: str, stage: str = "ingest", **fields: Any) -> Artifact:
    blob = name.encode()
    return Artifact(
        key=digest_of(blob),
        stage=stage,
        version=1,
        name=f"mug/{name}",
        media="png",
        digest=digest_of(blob),
        size=len(blob),
        **fields,
    )


def stored(store: Store, name: str, stage: str = "turn", **fields: Any) -> Artifact:
    made = artifact(name, stage, **fields)
    store.put(made, b"" if made.reject_reason else name.encode())
    return made


def source(name: str, **fields: Any) -> SourceImage:
    content: dict[str, Any] = {"annotations": (Annotation(label="mug"),), **fields}
    return SourceImage(
        name=f"mug/{name}", file=f"mug/{name}.png", split="train", image=artifact(name), **content
    )


CONFIG = ItemConfig(settings={"copies": 2}, finish={"quality": 92}, shared=SharedInputs())


def key(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "generator": "multiview",
        "phase": "images",
        "sources": [source("a")],
        "inputs": [],
        "config": CONFIG,
        "versions": {"turn": 1},
    }
    return item_key(**{**arguments, **changes})


def item(name: str = "a") -> WorkItem:
    sources = (source(name),)
    return WorkItem(
        generator="multiview",
        phase="images",
        name=f"mug/{name}",
        key=key(sources=sources),
        sources=sources,
    )


BOXED = (Annotation(label="mug", box=(1, 2, 3, 4)),)
MASKED = (Annotation(label="mug", mask=artifact("mask")),)


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": "image_to_image"},
        {"phase": "train"},
        {"sources": [source("b")]},
        {"sources": [source("a"), source("b")]},
        {"sources": [source("a", prompt="a blue mug")]},
        {"sources": [source("a", annotations=(Annotation(label="cup"),))]},
        {"sources": [source("a", annotations=BOXED)]},
        {"sources": [source("a", annotations=MASKED)]},
        {"inputs": [artifact("weights")]},
        {"config": CONFIG.model_copy(update={"settings": {"copies": 3}})},
        {"config": CONFIG.model_copy(update={"finish": {"quality": 80}})},
        {"config": CONFIG.model_copy(update={"shared": SharedInputs(heldout=(artifact("h"),))})},
        {
            "config": CONFIG.model_copy(
                update={"shared": SharedInputs(backgrounds=(artifact("b"),))}
            )
        },
        {"versions": {"turn": 2}},
        {"versions": {"turn": 1, "cut": 1}},
    ],
)
def test_everything_that_decides_the_result_is_part_of_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_where_a_photo_lies_is_not_part_of_the_key() -> None:
    assert key(sources=[source("a").model_copy(update={"file": "elsewhere/a.png"})]) == key()


def test_a_worker_reads_the_item_and_the_settings_that_the_parent_wrote(store: Store) -> None:
    items = [item(name) for name in "abc"]
    save_items(store, items, CONFIG)
    for wanted in items:
        assert load_item(store, wanted.key) == (wanted, CONFIG)


def test_settings_are_written_once_for_all_items(store: Store) -> None:
    save_items(store, [item(name) for name in "abc"], CONFIG)
    assert len(store.documents("settings/")) == 1
    save_items(store, [], CONFIG.model_copy(update={"settings": {}}))
    assert len(store.documents("settings/")) == 1


def test_an_item_that_nobody_wrote_is_named_with_the_fix(store: Store) -> None:
    with pytest.raises(MissingArtifactError, match=r"no work item f+; run the pipeline again"):
        load_item(store, "f" * 64)


def test_the_result_of_the_last_attempt_is_kept(store: Store) -> None:
    assert load_result(store, "a" * 64) is None
    save_result(store, Result(key="a" * 64, failure="no memory", corrupt_input=True, run="1"))
    failed = load_result(store, "a" * 64)
    assert failed is not None
    assert (failed.failure, failed.corrupt_input) == ("no memory", True)
    assert load_record(store, "a" * 64) is None
    save_result(store, Result(key="a" * 64), GenerationRecord(samples=(), artifacts=()))
    assert load_result(store, "a" * 64) == Result(key="a" * 64)
    assert load_record(store, "a" * 64) is not None


def test_records_come_in_the_order_of_the_keys_and_are_whole_or_none(
    store: Store, tmp_path: Path
) -> None:
    made = {number: stored(store, f"image {number}") for number in range(40)}
    keys = [digest_of(str(number).encode()) for number in range(41)]
    for number, image in made.items():
        save_result(
            store, Result(key=keys[number]), GenerationRecord(samples=(), artifacts=(image,))
        )
    gone = made[17]
    next((tmp_path / "store" / "turn").rglob(f"{gone.key}.png")).unlink()
    with pytest.raises(MissingArtifactError):
        store.read(gone)
    records = list(load_records(store, keys))
    assert [record is None for record in records] == [at in (17, 40) for at in range(41)]
    assert records[3] == GenerationRecord(samples=(), artifacts=(made[3],))


def test_samples_and_artifacts_of_a_record_can_be_read_alone(store: Store) -> None:
    image = stored(store, "image")
    sample = Sample(
        name="mug/a_view0",
        split="train",
        image=image,
        annotations=BOXED,
        generator="multiview",
        sources=("mug/a", "mug/b"),
    )
    save_result(
        store, Result(key="a" * 64), GenerationRecord(samples=(sample,), artifacts=(image,))
    )
    assert load_samples(store, "a" * 64) == (sample,)
    assert artifact_ids(store, "a" * 64) == [image.id]
    with pytest.raises(MissingArtifactError, match="was removed or cut during the run; run again"):
        load_samples(store, "b" * 64)


def test_the_counts_of_a_record_are_cached_artifacts_without_the_photos() -> None:
    record = GenerationRecord(
        samples=(),
        artifacts=(
            artifact("photo"),
            artifact("one", "turn"),
            artifact("two", "turn", reject_reason="no object"),
            artifact("three", "draw", metadata={"retries": 2}),
        ),
    )
    assert record.counts == {
        "turn": StageCount(cached=2, rejected=1),
        "draw": StageCount(cached=1, safety_retries=2),
    }


def test_pins_of_a_run_name_the_artifacts_of_its_items(store: Store) -> None:
    image = stored(store, "image")
    save_result(store, Result(key="a" * 64), GenerationRecord(samples=(), artifacts=(image,)))
    pin_artifacts(store, "run", ["ingest/photo"], ["a" * 64, "b" * 64])
    assert pinned_artifacts(store) == {"ingest/photo", image.id}
