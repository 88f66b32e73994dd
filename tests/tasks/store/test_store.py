"""The artifact store in a folder: the contract, and faults of processes and disks."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.store.backend import Backend, in_parallel
from tasks.store.errors import (
    CorruptArtifactError,
    MissingArtifactError,
    StoreAccessError,
    StoreError,
)
from tasks.store.layout import LEASES, blob_name, is_part, parse_name, record_name
from tasks.store.maintenance import collect_garbage, sizes
from tasks.store.store import Store, open_store
from tasks.store.verification import verify
from tests.tasks.store.store_contract import (
    ArtifactContract,
    LayoutContract,
    LeaseContract,
    MaintenanceContract,
    put,
)
from tests.tasks.store.store_worker import sample


def worker(*arguments: str | Path) -> subprocess.Popen[str]:
    """A process at `tests.tasks.store.store_worker`'s work."""
    command = [sys.executable, "-m", "tests.tasks.store.store_worker", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def age(folder: Path, hours: float) -> None:
    """Make every file look as if it had last been written so long ago."""
    then = time.time() - hours * 3600
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


class TestFolder(ArtifactContract, LayoutContract, LeaseContract, MaintenanceContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "new" / "store")

    def test_file_names_hold_the_stage_and_the_key(self, store: Store, backend: Backend) -> None:
        (artifact,) = put(store, 1)
        key = artifact.key
        names = [entry.name for entry in backend.entries("upscale/")]
        assert names == [f"upscale/{key[:2]}/{key}.png", f"upscale/{key[:2]}/{key}.record"]

    @pytest.mark.parametrize(
        "name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", ".hidden", "a/", "a\nb", "ä"]
    )
    def test_no_document_name_leaves_the_store(self, store: Store, name: str) -> None:
        for call in (store.get_document, lambda name: store.put_document(name, b"x")):
            with pytest.raises(ValueError, match="document name"):
                call(name)
        if name not in {"", "a/"}:
            with pytest.raises(ValueError, match="document name"):
                store.documents(name)

    @pytest.mark.parametrize(
        "change",
        [{"stage": stage} for stage in ("..", "a/b", "", "documents", "leases", "lost", "A", "a\n")]
        + [{"key": key} for key in ("../../etc", "ab", "", "abc/def", "abc.def", ".abc", "abc\n")],
    )
    def test_no_artifact_name_leaves_the_store(self, store: Store, change: dict[str, str]) -> None:
        artifact, blob = sample(1)
        artifact = artifact.model_copy(update=change)
        for call in (
            lambda: store.put(artifact, blob),
            lambda: store.read(artifact),
            lambda: store.mark_lost([artifact.id]),
            lambda: store.find(artifact.stage, [artifact.key]),
        ):
            with pytest.raises(ValueError, match=r"stage|key"):
                call()

    def test_a_home_folder_and_a_path_are_addresses_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert open_store("~/store").url == open_store(tmp_path / "store").url

    def test_refuses_an_address_that_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "photo.jpg").write_bytes(b"x")
        with pytest.raises(StoreAccessError, match="is a file; name a folder"):
            open_store(tmp_path / "photo.jpg")
        with pytest.raises(StoreAccessError, match="can't be created"):
            open_store(tmp_path / "photo.jpg" / "store")
        with pytest.raises(StoreAccessError, match="can't be opened by gs://"):
            open_store("gs://bucket/prefix")

    def test_a_folder_instead_of_a_file_is_one_clear_error(self, store: Store, url: str) -> None:
        (artifact,) = put(store, 1)
        blob = Path(url) / blob_name(artifact)
        blob.unlink()
        blob.mkdir()
        for call in (lambda: store.read(artifact), lambda: store.put(*sample(1))):
            with pytest.raises(StoreError, match=f"{blob.name} failed: Is a directory"):
                call()
        assert store.find("upscale", [artifact.key]) == {}

    def test_verify_counts_files_that_cannot_be_read_and_continues(
        self, store: Store, url: str
    ) -> None:
        artifacts = put(store, *range(4))
        for artifact in artifacts[:2]:
            blob = Path(url) / blob_name(artifact)
            blob.unlink()
            blob.mkdir()
            (blob / "x").write_bytes(b"x")
        (Path(url) / blob_name(artifacts[2])).write_bytes(b"spoilt")
        report = verify(store, remove_corrupt=True)
        assert sorted(report.unreadable) == sorted(artifact.id for artifact in artifacts[:2])
        assert (report.corrupt, report.artifacts) == ((artifacts[2].id,), 4)
        assert not report.good
        assert store.lost(artifacts) == artifacts[:3]
        assert (verify(store).good, verify(store).artifacts) == (True, 1)

    def test_verify_counts_folders_and_links_under_the_names_of_files(
        self, store: Store, url: str
    ) -> None:
        artifacts = put(store, *range(3))
        names = [
            record_name("upscale", artifacts[0].key),
            blob_name(artifacts[1]),
            record_name("upscale", artifacts[2].key),
        ]
        for name in names:
            (Path(url) / name).unlink()
        (Path(url) / names[0]).mkdir()
        (Path(url) / names[0] / "x").write_bytes(b"x")
        (Path(url) / names[1]).mkdir()
        (Path(url) / names[2]).symlink_to(Path(url) / names[2])
        report = verify(store, remove_corrupt=True)
        assert sorted(report.unreadable) == sorted(artifact.id for artifact in artifacts)
        assert "Is a directory" in report.reasons[artifacts[0].id]
        assert "symbolic links" in report.reasons[artifacts[2].id]
        assert report.kept == ()
        assert verify(store).good
        assert put(store, *range(3)) == artifacts
        assert verify(store).artifacts == 3

    def test_verify_continues_after_a_folder_that_it_may_not_list(
        self, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = put(store, 1), put(store, 2)
        hidden, shown = sorted([*first, *second], key=lambda artifact: artifact.key)
        assert hidden.key[:2] != shown.key[:2]
        scan = os.scandir

        def refuse(path: str) -> object:
            if path.endswith(f"upscale/{hidden.key[:2]}"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scan(path)

        Path(url, blob_name(shown)).write_bytes(b"spoilt")
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", refuse)
            report = verify(store)
            assert report.unlisted == (f"upscale/{hidden.key[:2]}",)
            assert report.corrupt == (shown.id,)
            with pytest.raises(StoreAccessError, match=r"listing .* failed: Permission denied"):
                collect_garbage(store, [shown.id])

    def test_verify_says_what_it_could_not_remove(
        self, store: Store, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (artifact,) = put(store, 1)
        backend.put(blob_name(artifact), b"spoilt")

        def refuse(name: str) -> None:
            raise StoreAccessError(f"deleting {name} failed")

        monkeypatch.setattr(backend, "delete", refuse)
        report = verify(store, remove_corrupt=True)
        assert (report.corrupt, report.kept) == ((artifact.id,), (artifact.id,))
        assert report.reasons[artifact.id].startswith("deleting upscale/")

    def test_ignores_files_of_the_file_system(self, url: str) -> None:
        for folder in ("lost+found", ".snapshot"):
            (Path(url) / folder).mkdir(parents=True)
            (Path(url) / folder / "inode").write_bytes(b"x")
        (Path(url) / ".DS_Store").write_bytes(b"x")
        assert sizes(open_store(url)) == []

    def test_gc_deletes_what_killed_workers_left(self, store: Store, url: str) -> None:
        (artifact,) = put(store, 1)
        shard = Path(url) / "upscale" / artifact.key[:2]
        (shard / ".whatever.png.0011223344556677.part").write_bytes(b"half")
        (Path(url) / LEASES).mkdir(exist_ok=True)
        (Path(url) / LEASES / "0011").write_bytes(b"{}")
        store.mark_lost(["upscale/0011"])
        assert collect_garbage(store, [artifact.id], delete=True, grace_s=0).strays == 0, (
            "may be in use"
        )
        age(Path(url), hours=2)
        report = collect_garbage(store, [artifact.id], delete=True, grace_s=0)
        assert (report.strays, report.size, report.kept) == (3, 6, 1)
        assert not [path for path in Path(url).rglob("*") if is_part(path.name)]
        assert not list((Path(url) / LEASES).iterdir())
        assert store.read(artifact)

    def test_gc_keeps_the_ancestors_of_what_is_young(self, store: Store, url: str) -> None:
        """A run in progress may need them again, although no dataset refers to its images yet."""
        old = self.family(store, ["ingest", "upscale"], 1)
        unused = self.family(store, ["ingest", "upscale"], 2)
        age(Path(url), hours=2)
        child, blob = sample(1, stage="background")
        store.put(child.model_copy(update={"parents": (old[-1].id,)}), blob)
        report = collect_garbage(store, [], delete=True)
        assert (report.kept, report.garbage) == (3, 2)
        assert all(store.read(one) for one in old)
        assert store.find("upscale", [unused[1].key]) == {}


def test_a_killed_run_leaves_only_whole_files(tmp_path: Path) -> None:
    size = 2_000_000
    numbers_by_key = {sample(number, size)[0].key: number for number in range(200)}
    for killed_after in (1, 4, 9):
        process = worker("put", tmp_path / "store", "100000", str(size))
        assert process.stdout is not None
        numbers = [int(process.stdout.readline()) for _ in range(killed_after)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = open_store(tmp_path / "store")
        artifacts = [sample(number, size)[0] for number in numbers]
        assert len(store.find("upscale", [one.key for one in artifacts])) == killed_after
        assert verify(store).good
        whole = 0
        for path in (tmp_path / "store").rglob("*.png"):
            name = parse_name(path.relative_to(tmp_path / "store").as_posix())
            assert name is not None
            _, blob = sample(numbers_by_key[name.key], size)
            assert path.read_bytes() == blob, "a file under its own name is whole"
            whole += 1
        assert whole >= killed_after


def test_two_processes_compute_a_unit_once(tmp_path: Path) -> None:
    open_store(tmp_path / "store")
    ledger = tmp_path / "ledger"
    workers = [worker("once", tmp_path / "store", "unit", ledger) for _ in range(3)]
    assert [process.wait(60) for process in workers] == [0, 0, 0]
    assert ledger.read_text() == "worked True\n"


def test_replaces_a_dead_worker_of_this_machine_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tmp_path / "store")
    holder = worker("hold", tmp_path / "store", "unit")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    holder.send_signal(signal.SIGKILL)
    started = time.monotonic()
    with store.lease("unit") as held:
        waited = time.monotonic() - started
    holder.communicate()
    assert held
    assert waited < 5, "it does not wait until the 60 s of the dead worker are over"
    assert "taking over unit" in caplog.text


def test_a_full_disk_is_one_clear_error_and_no_half_file(tiny_disk: Path) -> None:
    store = open_store(tiny_disk / "store")
    first, blob = sample(1, 40_000)
    store.put(first, blob)
    second, blob = sample(2, 500_000)
    with pytest.raises(StoreError, match="No space left on device; make room") as caught:
        store.put(second, blob)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, StoreAccessError)
    assert store.find("upscale", [first.key, second.key]) == {first.key: first}
    assert store.read(first) == sample(1, 40_000)[1]
    names = [path.name for path in (tiny_disk / "store").rglob("*") if path.is_file()]
    assert not [name for name in names if is_part(name) or second.key in name]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB; the test is skipped where none can be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk; the next test stands in")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_too_large_for_the_process_is_one_clear_error(tmp_path: Path) -> None:
    output, _ = worker("full", tmp_path / "store", "100000").communicate()
    assert "File too large; make room" in output
    assert output.count("\n") == 1
    left = [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert left == ["layout.json"]


FORBIDDEN = """
import os, sys
from tasks.store.errors import StoreAccessError
from tasks.store.store import open_store
from tests.tasks.store.store_worker import sample
if os.geteuid() == 0:
    os.setuid(65534)
for call in (lambda: open_store(sys.argv[1] + "/new"), lambda: open_store(sys.argv[1])):
    try:
        store = call()
        store.put(*sample(1))
    except StoreAccessError as error:
        print(error)
"""


@pytest.fixture
def guarded_folder() -> Iterator[Path]:
    """A folder that other users may reach; pytest's own may not be."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        Path(name).chmod(0o700)


def test_a_missing_permission_is_one_line(guarded_folder: Path) -> None:
    open_store(guarded_folder)
    guarded_folder.chmod(0o555)
    command = [sys.executable, "-c", FORBIDDEN, str(guarded_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert "can't be created (Permission denied); name a folder you may write" in first
    assert "Permission denied; give this user the right" in second


def test_errors_survive_pickling() -> None:
    """Prefect carries them from one process to another."""
    artifact, _ = sample(1)
    for error in (
        MissingArtifactError("gone", artifact),
        CorruptArtifactError("corrupt", artifact),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.artifact) == (type(error), str(error), artifact)


def test_parallel_calls_keep_order_and_start_few_items_ahead() -> None:
    begun: list[int] = []

    def square(number: int) -> int:
        begun.append(number)
        return number * number

    results = in_parallel(square, iter(range(10_000)), threads=4)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(begun) < 50
    results.close()  # type: ignore[attr-defined]
    assert list(in_parallel(square, range(50), threads=4)) == [n * n for n in range(50)]


def test_a_failing_parallel_call_ends_the_others() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda number: 1 // (5 - number), range(10_000), threads=4))
