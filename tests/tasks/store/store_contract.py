"""What every artifact store must do, wherever it is: test classes inherit these."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.data.records import Artifact
from tasks.store.backend import Backend
from tasks.store.layout import LEASES, MARKER, blob_name, record_name
from tasks.store.leases import Ticket
from tasks.store.store import Corrupt, Missing, Store, StoreError, StoreRefused, open_store
from tests.tasks.store.store_worker import sample


def put(store: Store, *numbers: int, stage: str = "upscale") -> list[Artifact]:
    """Keep the samples of some numbers."""
    artifacts = []
    for number in numbers:
        artifact, blob = sample(number, stage=stage)
        store.put(artifact, blob)
        artifacts.append(artifact)
    return artifacts


def found(store: Store, artifacts: list[Artifact]) -> list[Artifact]:
    """Those of the artifacts, all of one stage, that the store says are done."""
    return list(store.find(artifacts[0].stage, [one.key for one in artifacts]).values())


def forgotten(store: Store, artifact: Artifact) -> bool:
    return not store.find(artifact.stage, [artifact.key])


class _Fresh:
    """Subclasses give the fixture ``url``: the address of a place that nobody used."""

    @pytest.fixture
    def store(self, url: str) -> Store:
        return open_store(url)

    @pytest.fixture
    def backend(self, store: Store) -> Backend:
        """What lies under the store, to damage it."""
        return store._backend


class ArtifactContract(_Fresh):
    """Artifacts and documents are kept whole, or found out."""

    def test_gives_back_what_was_put(self, store: Store) -> None:
        artifact, blob = sample(1)
        store.put(artifact, blob)
        assert store.find("upscale", [artifact.key]) == {artifact.key: artifact}
        assert store.read(artifact) == blob
        assert store.absent([artifact]) == []

    def test_a_rejected_artifact_is_done_without_bytes(self, store: Store) -> None:
        artifact = sample(1)[0].model_copy(update={"reject_reason": "too dark", "size": 0})
        store.put(artifact, b"")
        assert store.find("upscale", [artifact.key]) == {artifact.key: artifact}
        assert store.absent([artifact]) == []
        with pytest.raises(StoreError, match=r"rejected \(too dark\)"):
            store.read(artifact)
        assert not forgotten(store, artifact)

    def test_a_record_must_fit_its_blob(self, store: Store) -> None:
        artifact, blob = sample(1)
        with pytest.raises(ValueError, match="1000 bytes but comes with 999"):
            store.put(artifact, blob[1:])
        with pytest.raises(ValueError, match="rejected one must have none"):
            store.put(artifact.model_copy(update={"reject_reason": "dark"}), blob)
        assert forgotten(store, artifact)

    def test_finds_only_whole_artifacts_in_the_order_asked(
        self, store: Store, backend: Backend
    ) -> None:
        artifacts = put(store, *range(8))
        lost, cut, unrecorded, torn, strange = artifacts[:5]
        backend.delete(blob_name(lost))
        backend.put(blob_name(cut), b"short")
        backend.delete(record_name("upscale", unrecorded.key))
        backend.put(record_name("upscale", torn.key), b'{"key": "ab')
        backend.put(record_name("upscale", strange.key), artifacts[7].model_dump_json().encode())
        assert found(store, artifacts[::-1]) == artifacts[:4:-1]
        assert store.absent(artifacts) == [lost, cut]

    def test_finds_many_at_once(self, store: Store, backend: Backend) -> None:
        """Enough of them that an S3 store lists the stage instead of asking one by one."""
        samples = [sample(number, size=10) for number in range(260)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: store.put(*one), samples))
        artifacts = [artifact for artifact, _ in samples]
        refused = artifacts[5].model_copy(update={"reject_reason": "dark", "size": 0})
        backend.delete(blob_name(refused))
        store.put(refused, b"")
        artifacts[5] = refused
        backend.delete(blob_name(artifacts[3]))
        backend.put(blob_name(artifacts[4]), b"longer than the record says")
        backend.delete(record_name("upscale", artifacts[6].key))
        unmade = [sample(number, size=10)[0] for number in range(1000, 1040)]
        done = [one for at, one in enumerate(artifacts) if at not in (3, 4, 6)]
        assert found(store, artifacts + unmade) == done
        assert store.absent(artifacts + unmade) == [artifacts[3], artifacts[4], *unmade]

    def test_lost_bytes_are_reported_and_made_again(self, store: Store, backend: Backend) -> None:
        (artifact,) = put(store, 1)
        backend.delete(blob_name(artifact))
        with pytest.raises(Missing, match="run again") as caught:
            store.read(artifact)
        assert caught.value.artifact == artifact
        assert backend.get(record_name("upscale", artifact.key)) is None
        put(store, 1)
        assert store.read(artifact) == sample(1)[1]

    @pytest.mark.parametrize("damaged", [b"", sample(1)[1][:-1], b"\0" + sample(1)[1][1:]])
    def test_damaged_bytes_are_never_served(
        self, store: Store, backend: Backend, damaged: bytes
    ) -> None:
        (artifact,) = put(store, 1)
        backend.put(blob_name(artifact), damaged)
        with pytest.raises(Corrupt, match="is damaged") as caught:
            store.read(artifact)
        assert caught.value.artifact == artifact
        assert backend.get(record_name("upscale", artifact.key)) is None

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
        with pytest.raises(Corrupt):
            store.fetch(artifact, tmp_path / "others")

    def test_bytes_made_anew_keep_their_record(self, store: Store) -> None:
        """Whoever still has the old record can't read, but must not spoil the new one."""
        artifact, _ = sample(1)
        _, other = sample(2)
        anew = artifact.model_copy(update={"digest": sample(2)[0].digest})
        store.put(anew, other)
        with pytest.raises(Corrupt):
            store.read(artifact)
        assert store.read(anew) == other
        assert found(store, [anew]) == [anew]

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

    def test_takes_no_place_that_holds_other_things(
        self, store: Store, url: str, backend: Backend
    ) -> None:
        backend.delete(MARKER)
        backend.put("holiday/beach.jpg", b"x")
        with pytest.raises(StoreRefused, match="holds other files and is no store"):
            open_store(url)
        assert [entry.name for entry in backend.entries("")] == ["holiday/beach.jpg"]

    def test_opens_its_own_again_but_no_other_layout(
        self, store: Store, url: str, backend: Backend
    ) -> None:
        put(store, 1)
        assert open_store(url).read(sample(1)[0]) == sample(1)[1]
        backend.put(MARKER, b'{"synthset-store": 2}\n')
        with pytest.raises(StoreRefused, match="another version"):
            open_store(url)


class LeaseContract(_Fresh):
    """One worker at a time does a unit of work."""

    def test_one_worker_at_a_time_holds_a_lease(self, store: Store, backend: Backend) -> None:
        inside: list[int] = []
        most = []

        def work(me: int) -> None:
            for _ in range(2):
                with store.lease("unit") as held:
                    inside.append(me)
                    most.append((held, len(inside)))
                    time.sleep(0.01)
                    inside.remove(me)

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(work, range(5)))
        assert most == [(True, 1)] * 10
        assert list(backend.entries(LEASES)) == []

    def test_other_units_need_not_wait(self, store: Store) -> None:
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

    @pytest.mark.parametrize("number", [0, 1], ids=["while choosing", "while holding"])
    def test_a_worker_of_another_machine_that_died_is_replaced(
        self, store: Store, backend: Backend, number: int
    ) -> None:
        self.leave_ticket(store, backend, machine="elsewhere", number=number, ttl_s=0.8)
        started = time.monotonic()
        with store.lease("unit") as held:
            assert held
            assert 0.8 < time.monotonic() - started < 5
        assert list(backend.entries(LEASES)) == []

    def test_a_ticket_that_cannot_be_read_runs_out(self, store: Store, backend: Backend) -> None:
        name = self.leave_ticket(store, backend, machine="elsewhere", number=1, ttl_s=60)
        backend.put(name, b"\0")
        with store.lease("unit", ttl_s=0.5) as held:
            assert held

    def test_losing_a_lease_does_not_stop_the_work(
        self, store: Store, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        with store.lease("unit", ttl_s=0.3):
            (ticket,) = backend.entries(LEASES)
            deadline = time.monotonic() + 10
            while "lost the lease on unit" not in caplog.text and time.monotonic() < deadline:
                # A renewal that was under way writes it anew.
                backend.delete(ticket.name)
                time.sleep(0.02)
        assert "lost the lease on unit; its work goes on" in caplog.text

    def test_a_lease_needs_a_name_and_a_time(self, store: Store, backend: Backend) -> None:
        for unit, ttl_s in (("", 60.0), ("unit", 0.0), ("unit", -1.0)):
            with (
                pytest.raises(ValueError, match="give a name and a time"),
                store.lease(unit, ttl_s),
            ):
                raise AssertionError("never entered")
        assert list(backend.entries(LEASES)) == []

    def test_an_error_gives_the_lease_back(self, store: Store, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError), store.lease("unit"):
            raise ZeroDivisionError
        assert list(backend.entries(LEASES)) == []

    @staticmethod
    def leave_ticket(
        store: Store, backend: Backend, *, machine: str, number: int, ttl_s: float
    ) -> str:
        """The name of a ticket on ``unit`` whose worker has died."""
        with store.lease("unit", ttl_s=60):
            (entry,) = backend.entries(LEASES)
            blob = backend.get(entry.name)
            assert blob is not None
        ticket = Ticket.model_validate_json(blob)
        left = ticket.model_copy(update={"machine": machine, "number": number, "ttl_s": ttl_s})
        backend.put(entry.name, left.model_dump_json().encode())
        return entry.name


class UpkeepContract(_Fresh):
    """Checking, removing what nobody needs, sizes."""

    def test_verify_names_what_is_wrong(self, store: Store, backend: Backend) -> None:
        artifacts = put(store, *range(9))
        assert store.verify().good
        damaged, lost, torn, unrecorded, doubled = artifacts[:5]
        backend.put(blob_name(damaged), b"\0" * 1000)
        backend.delete(blob_name(lost))
        backend.put(record_name("upscale", torn.key), b"{")
        backend.delete(record_name("upscale", unrecorded.key))
        other_media = blob_name(doubled.model_copy(update={"media": "json"}))
        backend.put(other_media, b"{}")
        store.put_document("runs/a.json", b"1")
        counts: list[int] = []
        report = store.verify(counts.append)
        assert sorted(report.corrupt) == sorted([damaged.id, torn.id])
        assert report.missing == (lost.id,)
        assert sorted(report.orphans) == sorted([blob_name(unrecorded), other_media])
        assert (report.artifacts, report.size, report.good) == (8, 6000, False)
        assert counts == list(range(1, 10))
        assert found(store, artifacts) == [damaged, *artifacts[4:]]

    def test_verify_forgets_bad_records_when_told(self, store: Store, backend: Backend) -> None:
        artifacts = put(store, *range(3))
        backend.put(blob_name(artifacts[0]), b"\0" * 1000)
        assert store.verify(forget=True).forgotten
        assert found(store, artifacts) == artifacts[1:]
        assert store.verify().good

    def test_gc_keeps_what_datasets_need_with_its_ancestors(
        self, store: Store, backend: Backend
    ) -> None:
        stages = ["ingest", "upscale", "background"]
        kept, garbage = self.family(store, stages, 1), self.family(store, stages, 2)
        (orphan,) = put(store, 3)
        backend.delete(record_name("upscale", orphan.key))
        store.put_document("runs/a.json", b"1")
        roots = [kept[-1].id]

        assert store.gc(roots, delete=True).garbage == 0, "all of it is young"
        report = store.gc(roots, grace_s=0)
        assert (report.kept, report.garbage, report.unknown) == (3, 4, ())
        assert not report.deleted
        assert all(not forgotten(store, one) for one in garbage), "a dry run deletes nothing"

        deleted = store.gc(roots, grace_s=0, delete=True)
        assert (deleted.garbage, deleted.size, deleted.deleted) == (4, report.size, True)
        assert all(store.read(one) for one in kept)
        assert all(forgotten(store, one) for one in garbage)
        assert backend.get(blob_name(orphan)) is None
        assert store.get_document("runs/a.json") == b"1"
        assert store.verify().orphans == ()

    def test_gc_stops_when_no_root_is_there(self, store: Store) -> None:
        (artifact,) = put(store, 1)
        with pytest.raises(StoreError, match="is it the right store"):
            store.gc([sample(7)[0].id], grace_s=0, delete=True)
        with pytest.raises(ValueError, match="key"):
            store.gc(["upscale/../x"])
        report = store.gc([artifact.id, sample(7)[0].id], grace_s=0, delete=True)
        assert report.unknown == (sample(7)[0].id,)
        assert not forgotten(store, artifact)

    def test_ls_tells_sizes(self, store: Store, backend: Backend) -> None:
        put(store, 1, 2)
        put(store, 3, stage="depth")
        store.put_document("runs/a.json", b"1")
        depth, upscale = store.ls()
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
