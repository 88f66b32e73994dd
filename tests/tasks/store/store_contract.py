"""What every artifact store must do, in a folder and in a bucket: test classes inherit these."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.data.records import Artifact
from tasks.store.backend import Backend
from tasks.store.errors import (
    CorruptArtifactError,
    MissingArtifactError,
    StoreAccessError,
    StoreError,
    StoreLayoutError,
)
from tasks.store.layout import LAYOUT_FILE, LEASES, LOST, blob_name, record_name
from tasks.store.leases import Lease
from tasks.store.maintenance import collect_garbage, sizes
from tasks.store.old_layout import OLD_MARKER, clear_old_layout
from tasks.store.store import Store, open_backend, open_store
from tasks.store.verification import verify
from tests.tasks.store.store_worker import sample


def put(store: Store, *numbers: int, stage: str = "upscale") -> list[Artifact]:
    """Write the samples of some numbers, and return their records."""
    artifacts = []
    for number in numbers:
        artifact, blob = sample(number, stage=stage)
        store.put(artifact, blob)
        artifacts.append(artifact)
    return artifacts


def found(store: Store, artifacts: list[Artifact]) -> list[Artifact]:
    """Those of the artifacts, all of one stage, that the store says are done."""
    return list(store.find(artifacts[0].stage, [artifact.key for artifact in artifacts]).values())


def is_done(store: Store, artifact: Artifact) -> bool:
    return bool(store.find(artifact.stage, [artifact.key]))


class _Fresh:
    """Subclasses give the fixture ``url``: an address that no store has used."""

    @pytest.fixture
    def store(self, url: str) -> Store:
        return open_store(url)

    @pytest.fixture
    def backend(self, store: Store) -> Backend:
        """The storage under the store, so that tests can spoil its files."""
        return store.backend


class ArtifactContract(_Fresh):
    """Artifacts and documents come back unchanged, or not at all."""

    def test_returns_what_was_put(self, store: Store) -> None:
        artifact, blob = sample(1)
        store.put(artifact, blob)
        assert store.find("upscale", [artifact.key]) == {artifact.key: artifact}
        assert store.read(artifact) == blob
        assert store.lost([artifact]) == []

    def test_a_rejected_artifact_is_done_without_bytes(self, store: Store) -> None:
        artifact = sample(1)[0].model_copy(update={"reject_reason": "too dark", "size": 0})
        store.put(artifact, b"")
        assert store.find("upscale", [artifact.key]) == {artifact.key: artifact}
        with pytest.raises(StoreError, match=r"rejected \(too dark\)"):
            store.read(artifact)
        assert is_done(store, artifact)
        assert store.lost([artifact]) == []

    def test_refuses_a_blob_that_differs_in_size_from_its_record(self, store: Store) -> None:
        artifact, blob = sample(1)
        with pytest.raises(ValueError, match="1000 bytes but its blob has 999"):
            store.put(artifact, blob[1:])
        with pytest.raises(ValueError, match="rejected artifact must have none"):
            store.put(artifact.model_copy(update={"reject_reason": "dark"}), blob)
        assert not is_done(store, artifact)

    def test_finds_only_whole_artifacts_in_the_requested_order(
        self, store: Store, backend: Backend
    ) -> None:
        artifacts = put(store, *range(8))
        lost, cut, unrecorded, unparsable, foreign = artifacts[:5]
        backend.delete(blob_name(lost))
        backend.put(blob_name(cut), b"short")
        backend.delete(record_name("upscale", unrecorded.key))
        backend.put(record_name("upscale", unparsable.key), b'{"key": "ab')
        backend.put(record_name("upscale", foreign.key), artifacts[7].model_dump_json().encode())
        assert found(store, artifacts[::-1]) == artifacts[:4:-1]

    def test_finds_many_artifacts(self, store: Store, backend: Backend) -> None:
        samples = [sample(number, size=10) for number in range(260)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda pair: store.put(*pair), samples))
        artifacts = [artifact for artifact, _ in samples]
        rejected = artifacts[5].model_copy(update={"reject_reason": "dark", "size": 0})
        backend.delete(blob_name(rejected))
        store.put(rejected, b"")
        artifacts[5] = rejected
        backend.delete(blob_name(artifacts[3]))
        backend.put(blob_name(artifacts[4]), b"longer than the record says")
        backend.delete(record_name("upscale", artifacts[6].key))
        uncomputed = [sample(number, size=10)[0] for number in range(1000, 1040)]
        done = [artifact for at, artifact in enumerate(artifacts) if at not in (3, 4, 6)]
        assert found(store, artifacts + uncomputed) == done

    def test_a_reader_reports_lost_bytes_and_a_rerun_writes_them_again(
        self, store: Store, backend: Backend
    ) -> None:
        artifact, other = put(store, 1, 2)
        backend.delete(blob_name(artifact))
        with pytest.raises(MissingArtifactError, match="run again") as caught:
            store.read(artifact)
        assert caught.value.artifact == artifact
        assert backend.get(record_name("upscale", artifact.key)) is None
        assert store.lost([other, artifact]) == [artifact]
        put(store, 1)
        assert store.read(artifact) == sample(1)[1]
        assert store.lost([other, artifact]) == []
        assert list(backend.entries(LOST)) == []

    @pytest.mark.parametrize("spoilt", [b"", sample(1)[1][:-1], b"\0" + sample(1)[1][1:]])
    def test_never_returns_corrupt_bytes(
        self, store: Store, backend: Backend, spoilt: bytes
    ) -> None:
        (artifact,) = put(store, 1)
        backend.put(blob_name(artifact), spoilt)
        with pytest.raises(CorruptArtifactError, match="is corrupt") as caught:
            store.read(artifact)
        assert caught.value.artifact == artifact
        assert backend.get(record_name("upscale", artifact.key)) is None
        assert store.lost([artifact]) == [artifact]

    def test_fetches_a_file_that_others_can_open(
        self, store: Store, backend: Backend, tmp_path: Path
    ) -> None:
        (artifact,) = put(store, 1)
        path = store.fetch(artifact, tmp_path / "copies")
        assert path.suffix == ".png"
        assert path.read_bytes() == sample(1)[1]
        assert store.fetch(artifact, tmp_path / "copies") == path
        if path.parent == tmp_path / "copies":
            path.write_bytes(b"spoilt")
            assert store.fetch(artifact, tmp_path / "copies").read_bytes() == sample(1)[1]
        backend.put(blob_name(artifact), b"spoilt")
        with pytest.raises(CorruptArtifactError):
            store.fetch(artifact, tmp_path / "others")

    def test_recomputed_bytes_keep_their_record(self, store: Store) -> None:
        """A reader with the old record fails, and must not delete the new artifact."""
        artifact, _ = sample(1)
        _, other = sample(2)
        recomputed = artifact.model_copy(update={"digest": sample(2)[0].digest})
        store.put(recomputed, other)
        with pytest.raises(CorruptArtifactError):
            store.read(artifact)
        assert store.read(recomputed) == other
        assert found(store, [recomputed]) == [recomputed]
        assert store.lost([artifact]) == [artifact]
        assert store.lost([recomputed]) == []

    def test_keeps_documents(self, store: Store) -> None:
        assert store.get_document("runs/a.json") is None
        store.put_document("runs/a.json", b"1")
        store.put_document("runs/a.json", b"2")
        store.put_document("runs/b.json", b"3")
        store.put_document("runs-old", b"4")
        assert store.get_document("runs/a.json") == b"2"
        assert store.documents("runs/") == ["runs/a.json", "runs/b.json"]
        assert store.documents("runs/b") == ["runs/b.json"]
        assert store.documents("nothing/") == []
        assert store.documents() == ["runs-old", "runs/a.json", "runs/b.json"]


class LayoutContract(_Fresh):
    """A store says which layout it has, and no other layout is read."""

    def test_a_new_store_gets_the_present_layout(self, store: Store, backend: Backend) -> None:
        assert backend.get(LAYOUT_FILE) == b'{"layout":2}'

    def test_opens_its_own_store_again(self, store: Store, url: str) -> None:
        put(store, 1)
        assert open_store(url, create=False).read(sample(1)[0]) == sample(1)[1]

    def test_refuses_an_empty_store_that_must_exist(
        self, store: Store, url: str, backend: Backend
    ) -> None:
        backend.delete(LAYOUT_FILE)
        with pytest.raises(StoreAccessError, match="is empty: no run has used it yet"):
            open_store(url, create=False)

    def test_refuses_other_files(self, store: Store, url: str, backend: Backend) -> None:
        backend.delete(LAYOUT_FILE)
        backend.put("holiday/beach.jpg", b"x")
        with pytest.raises(StoreAccessError, match="holds other files and is no store"):
            open_store(url)
        assert [entry.name for entry in backend.entries("")] == ["holiday/beach.jpg"]

    @pytest.mark.parametrize("marker", [True, False])
    def test_refuses_an_old_store_until_it_is_cleared(
        self, store: Store, url: str, backend: Backend, marker: bool
    ) -> None:
        (artifact,) = put(store, 1)
        store.put_document("orders/a.json", b"{}")
        backend.put("holiday/beach.jpg", b"x")
        backend.delete(LAYOUT_FILE)
        if marker:
            backend.put(OLD_MARKER, b'{"synthset-store": 1}\n')
        with pytest.raises(StoreLayoutError) as refused:
            open_store(url)
        assert str(refused.value) == (
            f"store {url} has layout 1 of an older synthset; this version writes layout 2: use"
            f" another --store, or clear it with `synthset store gc {url} --old-layout --delete`"
        )
        old = open_backend(url)
        assert clear_old_layout(old, delete=False).files == 3
        assert old.get(blob_name(artifact)) is not None
        report = clear_old_layout(old, delete=True)
        assert (report.files, report.deleted) == (3, True)
        assert [entry.name for entry in backend.entries("")] == ["holiday/beach.jpg"]
        backend.delete("holiday/beach.jpg")
        assert found(open_store(url), [artifact]) == []

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            (b'{"layout": 1}', "layout 1 of an older synthset"),
            (b'{"layout": 3}', "layout 3 of a newer synthset; .* update synthset"),
            (b'{"layout"', "unreadable layout.json"),
        ],
    )
    def test_refuses_another_layout(
        self, store: Store, url: str, backend: Backend, content: bytes, line: str
    ) -> None:
        put(store, 1)
        backend.put(LAYOUT_FILE, content)
        with pytest.raises(StoreLayoutError, match=line):
            open_store(url)

    def test_does_not_clear_a_store_of_the_present_layout(
        self, store: Store, backend: Backend
    ) -> None:
        (artifact,) = put(store, 1)
        with pytest.raises(StoreError, match="has no old layout"):
            clear_old_layout(backend, delete=True)
        assert store.read(artifact) == sample(1)[1]


class LeaseContract(_Fresh):
    """One worker at a time computes a unit of work."""

    def test_one_worker_at_a_time_holds_a_lease(self, store: Store, backend: Backend) -> None:
        inside: list[int] = []
        most_inside = []

        def work(number: int) -> None:
            for _ in range(2):
                with store.lease("unit") as held:
                    inside.append(number)
                    most_inside.append((held, len(inside)))
                    time.sleep(0.01)
                    inside.remove(number)

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(work, range(5)))
        assert most_inside == [(True, 1)] * 10
        assert list(backend.entries(LEASES)) == []

    def test_another_unit_does_not_wait(self, store: Store) -> None:
        with store.lease("one") as first, store.lease("other") as second:
            assert (first, second) == (True, True)

    def test_a_living_holder_keeps_its_lease_beyond_its_time(self, store: Store) -> None:
        events = []
        entered = threading.Event()

        def hold() -> None:
            with store.lease("unit", ttl_s=0.6):
                entered.set()
                time.sleep(1.5)
                events.append("first done")

        holder = threading.Thread(target=hold)
        holder.start()
        assert entered.wait(10)
        with store.lease("unit", ttl_s=0.6):
            events.append("second began")
        holder.join()
        assert events == ["first done", "second began"]

    def test_replaces_a_dead_worker_of_another_machine_after_its_time(
        self, store: Store, backend: Backend
    ) -> None:
        self.leave_lease(store, backend, machine="elsewhere", ttl_s=0.8)
        started = time.monotonic()
        with store.lease("unit") as held:
            assert held
            assert 0.8 < time.monotonic() - started < 5
        assert list(backend.entries(LEASES)) == []

    def test_an_unreadable_lease_ends_after_its_time(self, store: Store, backend: Backend) -> None:
        name = self.leave_lease(store, backend, machine="elsewhere", ttl_s=60)
        backend.put(name, b"\0")
        with store.lease("unit", ttl_s=0.5) as held:
            assert held

    def test_losing_a_lease_does_not_stop_the_work(
        self, store: Store, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        with store.lease("unit", ttl_s=0.3):
            (file,) = backend.entries(LEASES)
            deadline = time.monotonic() + 10
            while "lost the lease on unit" not in caplog.text and time.monotonic() < deadline:
                # A renewal in progress may write it again.
                backend.delete(file.name)
                time.sleep(0.02)
        assert "lost the lease on unit; its work continues" in caplog.text

    def test_a_lease_needs_a_name_and_a_time(self, store: Store, backend: Backend) -> None:
        for unit, ttl_s in (("", 60.0), ("unit", 0.0), ("unit", -1.0)):
            with (
                pytest.raises(ValueError, match="give a name and a time"),
                store.lease(unit, ttl_s),
            ):
                raise AssertionError("never entered")
        assert list(backend.entries(LEASES)) == []

    def test_an_error_releases_the_lease(self, store: Store, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError), store.lease("unit"):
            raise ZeroDivisionError
        assert list(backend.entries(LEASES)) == []

    @staticmethod
    def leave_lease(store: Store, backend: Backend, *, machine: str, ttl_s: float) -> str:
        """Write a lease on ``unit`` whose worker has died, and return its file's name."""
        with store.lease("unit", ttl_s=60):
            (entry,) = backend.entries(LEASES)
            blob = backend.get(entry.name)
            assert blob is not None
        lease = Lease.model_validate_json(blob)
        left = lease.model_copy(update={"machine": machine, "ttl_s": ttl_s})
        backend.put(entry.name, left.model_dump_json().encode())
        return entry.name


class NoLeaseContract(_Fresh):
    """Storage that can't create a file exclusively: work runs without leases."""

    def test_works_without_a_lease(
        self, store: Store, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            with store.lease("unit") as first, store.lease("unit") as second:
                assert (first, second) == (False, False)
        assert list(backend.entries(LEASES)) == []
        lines = [line for line in caplog.messages if "has no conditional writes" in line]
        assert len(lines) == 1


class MaintenanceContract(_Fresh):
    """Checks, deletion of unused artifacts, sizes."""

    def test_verify_counts_every_fault(self, store: Store, backend: Backend) -> None:
        artifacts = put(store, *range(9))
        assert verify(store).good
        corrupt, missing, unparsable, unrecorded, doubled = artifacts[:5]
        backend.put(blob_name(corrupt), b"\0" * 1000)
        backend.delete(blob_name(missing))
        backend.put(record_name("upscale", unparsable.key), b"{")
        backend.delete(record_name("upscale", unrecorded.key))
        other_media = blob_name(doubled.model_copy(update={"media": "json"}))
        backend.put(other_media, b"{}")
        store.put_document("runs/a.json", b"1")
        counts: list[int] = []
        report = verify(store, counts.append)
        assert sorted(report.corrupt) == sorted([corrupt.id, unparsable.id])
        assert report.missing == (missing.id,)
        assert report.unreadable == ()
        assert sorted(report.orphans) == sorted([blob_name(unrecorded), other_media])
        assert (report.artifacts, report.size, report.good) == (8, 6000, False)
        assert counts == list(range(1, 10))
        assert found(store, artifacts) == [corrupt, *artifacts[4:]]

    def test_verify_removes_bad_artifacts_on_request(self, store: Store, backend: Backend) -> None:
        artifacts = put(store, *range(3))
        backend.put(blob_name(artifacts[0]), b"\0" * 1000)
        assert verify(store, remove_corrupt=True).removed
        assert found(store, artifacts) == artifacts[1:]
        assert store.lost(artifacts) == artifacts[:1]
        assert verify(store).good

    def test_verify_counts_and_removes_documents_that_a_power_failure_cut(
        self, store: Store, backend: Backend
    ) -> None:
        for name, content in {
            "a.json": b'{"x"',
            "b.json": b"",
            "c.html": b"",
            "d.txt": b"{",
        }.items():
            store.put_document(f"runs/{name}", content)
        report = verify(store, remove_corrupt=True)
        assert report.documents == ("runs/a.json", "runs/b.json", "runs/c.html")
        assert not report.good
        assert verify(store).good
        assert store.documents() == ["runs/d.txt"]

    def test_a_writable_store_keeps_nothing_of_the_check(
        self, store: Store, backend: Backend
    ) -> None:
        store.check_writable()
        assert [entry.name for entry in backend.entries("")] == [LAYOUT_FILE]

    def test_gc_keeps_the_roots_with_their_ancestors(self, store: Store, backend: Backend) -> None:
        stages = ["ingest", "upscale", "background"]
        kept, garbage = self.family(store, stages, 1), self.family(store, stages, 2)
        (orphan,) = put(store, 3)
        backend.delete(record_name("upscale", orphan.key))
        store.put_document("runs/a.json", b"1")
        roots = [kept[-1].id]

        assert collect_garbage(store, roots, delete=True).garbage == 0, "all of it is young"
        report = collect_garbage(store, roots, grace_s=0)
        assert (report.kept, report.garbage, report.unknown) == (3, 4, ())
        assert not report.deleted
        assert all(is_done(store, artifact) for artifact in garbage), "a dry run deletes nothing"

        deleted = collect_garbage(store, roots, grace_s=0, delete=True)
        assert (deleted.garbage, deleted.size, deleted.deleted) == (4, report.size, True)
        assert all(store.read(artifact) for artifact in kept)
        assert not any(is_done(store, artifact) for artifact in garbage)
        assert backend.get(blob_name(orphan)) is None
        assert store.get_document("runs/a.json") == b"1"
        assert verify(store).orphans == ()

    def test_gc_refuses_when_the_store_has_no_root(self, store: Store) -> None:
        (artifact,) = put(store, 1)
        with pytest.raises(StoreError, match="check that it is the right store"):
            collect_garbage(store, [sample(7)[0].id], grace_s=0, delete=True)
        with pytest.raises(ValueError, match="key"):
            collect_garbage(store, ["upscale/../x"])
        report = collect_garbage(store, [artifact.id, sample(7)[0].id], grace_s=0, delete=True)
        assert report.unknown == (sample(7)[0].id,)
        assert is_done(store, artifact)

    def test_ls_returns_sizes(self, store: Store, backend: Backend) -> None:
        put(store, 1, 2)
        put(store, 3, stage="depth")
        store.put_document("runs/a.json", b"1")
        depth, upscale = sizes(store)
        assert (depth.stage, depth.artifacts) == ("depth", 1)
        assert (upscale.stage, upscale.artifacts) == ("upscale", 2)
        assert upscale.size == sum(entry.size for entry in backend.entries("upscale/"))

    @staticmethod
    def family(store: Store, stages: list[str], number: int) -> list[Artifact]:
        """A chain of artifacts, each the parent of the next; the first came from a user's file."""
        chain: list[Artifact] = []
        for stage in stages:
            artifact, blob = sample(number, stage=stage)
            parent = chain[-1].id if chain else "file/somewhere else"
            chain.append(artifact.model_copy(update={"parents": (parent,)}))
            store.put(chain[-1], blob)
        return chain
