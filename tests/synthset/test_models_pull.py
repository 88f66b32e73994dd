"""`models pull` from a mirror, a folder and a bucket: whole, verified, gone on with, or refused."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from flows.config.checkpoints import absent_checkpoints, require_checkpoints
from flows.config.recipe import Recipe
from models.checkpoints import pull_transfer, pulling
from models.checkpoints.catalog import CatalogEntry, WeightFile, few_step_unet
from models.checkpoints.local import (
    CheckpointMissing,
    locate,
    models_folder,
    pinned,
    read_manifest,
)
from models.checkpoints.pull_folder import FolderSource, FolderTree
from models.checkpoints.pull_hub import HubSource
from models.checkpoints.pull_source import PullFailed, PullRefused
from models.checkpoints.pulling import Pulled, pull
from synthset import main as cli
from synthset.models import check_checkpoints, list_checkpoints, pull_checkpoints
from tasks.generate.background import Background
from tests.mirror import Mirror, serving
from tests.s3 import BUCKET, Server

pytest_plugins = ("tests.s3",)

PIN, OTHER = "a" * 40, "b" * 40
WEIGHTS = save({"w": torch.arange(120_000, dtype=torch.float32)}, metadata={"format": "pt"})
FILES = {
    "config.json": b'{"kind": "tiny"}\n',
    "tokenizer/vocab.json": b"{}\n",
    "unet/weights.fp16.safetensors": WEIGHTS,
    "unet/weights.safetensors": b"in full precision, not wanted",
    "pipeline.py": b"import os",
    "README.md": b"# not wanted",
}


def record(name: str, revision: str | None, **more: object) -> CatalogEntry:
    """An entry of a tiny checkpoint."""
    fields = {
        **{"id": name, "title": "tiny", "stage": "depth", "kind": "Tiny", "revision": revision},
        **{"licence": "MIT", "commercial": "yes", "size": 1, "vram": 1},
        "files": ("config.json", "tokenizer/*.json"),
        "weights": (
            WeightFile(
                path="unet/weights.safetensors",
                published=("unet/weights.fp16.safetensors", "unet/weights.bin"),
            ),
        ),
    }
    return CatalogEntry.model_validate(fields | more)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[CatalogEntry]:
    """The catalog of this test."""
    entries = [record("tiny/pinned", PIN), record("tiny/loose", None)]
    for module in ("models.checkpoints.catalog", "synthset.models"):
        monkeypatch.setattr(f"{module}.entries", lambda: tuple(entries))
    return entries


@pytest.fixture
def mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: list[CatalogEntry]
) -> Iterator[Mirror]:
    """A mirror with both checkpoints, named by HF_ENDPOINT; an empty models folder."""
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub-home"))
    monkeypatch.setattr(pull_transfer, "PAUSE_S", 0.0)
    with serving(tmp_path / "published") as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        mirror.put("tiny/pinned", OTHER, {"config.json": b"newer"})
        mirror.put("tiny/pinned", PIN, FILES)
        mirror.put("tiny/loose", PIN, FILES)
        yield mirror


@pytest.fixture(autouse=True)
def nothing_leaves(no_network: list[str]) -> Iterator[None]:
    """Every request goes to this machine."""
    yield
    assert no_network == []


def quiet(done: int, total: int, doing: str) -> None:
    assert 0 <= done <= total
    assert doing


def pull_it(name: str = "tiny/pinned", source: HubSource | FolderSource | None = None) -> Pulled:
    return pull(name, source or HubSource(), quiet)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def leftovers() -> list[Path]:
    hidden = (path for path in models_folder().rglob(".*") if path.name != ".revisions.lock")
    return [path for path in hidden if path.is_file()]


@pytest.mark.usefixtures("mirror")
class TestFromAMirror:
    def test_takes_the_pinned_commit_and_only_the_listed_files(self, mirror: Mirror) -> None:
        mirror.main["tiny/pinned"] = OTHER
        pulled = pull_it()
        folder = locate("tiny/pinned")
        assert folder == pulled.folder == models_folder() / "tiny" / "pinned" / PIN
        assert files_in(folder) == {
            *("checkpoint.json", "config.json", "tokenizer/vocab.json", "unet/weights.safetensors"),
        }
        assert (folder / "unet/weights.safetensors").read_bytes() == WEIGHTS
        manifest = read_manifest(folder)
        assert manifest is not None
        assert manifest.source == mirror.url
        assert (
            manifest.files["config.json"].sha256 == hashlib.sha256(FILES["config.json"]).hexdigest()
        )
        assert not any("main" in one for one in mirror.asked)
        assert leftovers() == []

    def test_is_only_verified_when_it_is_here(self, mirror: Mirror) -> None:
        pull_it()
        mirror.asked.clear()
        assert pull_it().was_here
        assert mirror.asked == []

    def test_goes_on_after_a_broken_connection(self, mirror: Mirror) -> None:
        mirror.cut["weights.fp16.safetensors"] = [200_000]
        pull_it()
        asked = mirror.gets("weights.fp16.safetensors")
        assert [one.partition(" bytes=")[2] for one in asked] == ["", "200000-"]

    def test_goes_on_after_the_pull_was_ended(self, mirror: Mirror) -> None:
        mirror.cut["weights.fp16.safetensors"] = [200_000] + [0] * pull_transfer.TRIES
        with pytest.raises(PullFailed, match=r"stopped at 0\.2 of 0\.5 MB.*run it again to go on"):
            pull_it()
        with pytest.raises(CheckpointMissing, match=r"no checkpoint\.json in"):
            locate("tiny/pinned")
        mirror.asked.clear()
        mirror.cut.clear()
        mirror.sent = 0
        pull_it()
        assert mirror.gets("weights.fp16.safetensors")[0].endswith("bytes=200000-")
        assert mirror.gets("config.json") == []
        assert mirror.sent == len(WEIGHTS) - 200_000
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS

    def test_goes_on_after_the_process_was_killed(self, mirror: Mirror) -> None:
        program = (
            "import os, sys; from models import catalog;"
            "known = catalog.CatalogEntry.model_validate_json(sys.argv[1]);"
            "catalog.entries = lambda: (known,);"
            "from models.checkpoints.pulling import pull;"
            "from models.checkpoints.pull_hub import HubSource;"
            "pull(known.id, HubSource(), lambda done, total, doing:"
            " os._exit(9) if 'unet' in doing else None)"
        )
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-c", program, record("tiny/pinned", PIN).model_dump_json()]
        ended = subprocess.run(command, cwd=root, check=False)
        assert ended.returncode == 9
        mirror.asked.clear()
        pull_it()
        assert mirror.gets("config.json") == []
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS
        assert leftovers() == []

    def test_begins_anew_where_the_mirror_can_not_go_on(self, mirror: Mirror) -> None:
        mirror.without_ranges = True
        mirror.cut["weights.fp16.safetensors"] = [200_000]
        pull_it()
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS

    @pytest.mark.parametrize("name", ["weights.fp16.safetensors", "config.json"])
    def test_refuses_wrong_bytes_and_removes_them(self, mirror: Mirror, name: str) -> None:
        mirror.wrong = {name}
        with pytest.raises(
            PullFailed, match="refused and removed, pull it again: synthset models pull tiny/pinned"
        ) as refused:
            pull_it()
        assert name in str(refused.value)
        assert "\n" not in str(refused.value)
        assert not list(models_folder().rglob("*.part"))
        with pytest.raises(CheckpointMissing):
            locate("tiny/pinned")
        mirror.wrong.clear()
        assert not pull_it().was_here

    def test_refuses_a_mirror_that_gives_another_commit(self, mirror: Mirror) -> None:
        mirror.stands_for[PIN] = OTHER
        with pytest.raises(PullRefused, match=f"gives commit {OTHER} of tiny/pinned for {PIN}"):
            pull_it()

    @pytest.mark.parametrize(
        ("status", "code"), [(401, None), (403, "GatedRepo"), (401, "GatedRepo")]
    )
    def test_says_in_one_line_how_to_get_access(
        self, mirror: Mirror, status: int, code: str | None
    ) -> None:
        mirror.status, mirror.error_code = status, code
        with pytest.raises(
            PullRefused, match=rf"\({status}\): accept its terms .* set HF_TOKEN"
        ) as one:
            pull_it()
        assert "\n" not in str(one.value)

    @pytest.mark.parametrize("name", ["tiny/pinned", "tiny/loose"])
    def test_refuses_what_the_catalog_knows_otherwise_pinned_or_not(
        self, mirror: Mirror, known: list[CatalogEntry], name: str
    ) -> None:
        at = [one.id for one in known].index(name)
        weights = known[at].weights[0].model_copy(update={"sha256": "0" * 64})
        known[at] = known[at].model_copy(update={"weights": (weights,)})
        with pytest.raises(PullRefused, match=rf"than the catalog .* pull {name} --from PLACE"):
            pull_it(name)
        assert mirror.gets("weights.fp16.safetensors") == []
        mirror.put(name, OTHER, FILES)
        assert pull_it(f"{name}@{OTHER}").revision == OTHER

    def test_refuses_another_mirror_that_gives_other_files_than_the_first(
        self, mirror: Mirror
    ) -> None:
        pull_it("tiny/loose")
        shutil.rmtree(models_folder() / "tiny")
        mirror.put("tiny/loose", PIN, {"config.json": b'{"kind": "else"}\n'})
        with pytest.raises(PullFailed, match=r"config\.json .* has sha256 .* refused and removed"):
            pull_it("tiny/loose")
        mirror.put("tiny/loose", PIN, {**FILES, "unet/weights.fp16.safetensors": b"falsified"})
        with pytest.raises(PullRefused, match=r"than the first pull .* remove its sums from sums"):
            pull_it("tiny/loose")
        mirror.put("tiny/loose", PIN, FILES)
        assert pull_it("tiny/loose").revision == PIN

    def test_compares_with_what_another_machine_noted(
        self, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pull_it("tiny/loose")
        second = tmp_path / "second"
        second.mkdir()
        for name in ("revisions.json", "sums.json"):
            shutil.copy(models_folder() / name, second)
        monkeypatch.setenv("SYNTHSET_MODELS", str(second))
        mirror.put("tiny/loose", OTHER, FILES)
        mirror.put("tiny/loose", PIN, {"unet/weights.fp16.safetensors": b"falsified"})
        with pytest.raises(PullRefused, match="than the first pull"):
            pull_it("tiny/loose")
        mirror.put("tiny/loose", PIN, FILES)
        assert pull_it("tiny/loose").revision == PIN

    def test_names_damaged_sums(self) -> None:
        models_folder().mkdir()
        (models_folder() / "sums.json").write_text("[1]")
        with pytest.raises(CheckpointMissing, match=r"sums\.json is no JSON object .* remove it"):
            pull_it()

    def test_says_in_one_line_that_it_is_not_there(self, mirror: Mirror) -> None:
        mirror.status = 404
        with pytest.raises(
            PullRefused, match=r"has no tiny/pinned \(404\); set HF_ENDPOINT .* --from FOLDER"
        ) as refused:
            pull_it()
        assert "\n" not in str(refused.value)

    def test_names_a_revision_that_is_not_there(self) -> None:
        with pytest.raises(PullRefused, match=f"no revision {'c' * 40} of tiny/pinned"):
            pull_it(f"tiny/pinned@{'c' * 40}")

    def test_names_a_file_that_a_revision_lacks(self) -> None:
        with pytest.raises(PullRefused, match=f"no tokenizer.*|no unet/.* in revision {OTHER}"):
            pull_it(f"tiny/pinned@{OTHER}")

    def test_says_that_a_file_is_shorter_than_stated(
        self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listing = HubSource().listing("tiny/pinned", PIN, None)
        files = dict(listing.files)
        files["config.json"] = replace(files["config.json"], size=99)
        monkeypatch.setattr(HubSource, "listing", lambda *_: replace(listing, files=files))
        with pytest.raises(
            PullFailed, match=r"config\.json .* ends at 17 of 99 bytes; use another"
        ):
            pull_it()

    def test_tries_a_failing_server_again_and_then_says_so(self, mirror: Mirror) -> None:
        mirror.cut["config.json"] = [0] * 99
        with pytest.raises(PullFailed, match=r"config\.json stopped at 0\.0"):
            pull_it()

    def test_says_what_to_do_without_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(PullFailed, match=r"127\.0\.0\.1:9 does not answer .* --from FOLDER"):
            pull_it()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(PullRefused, match="HF_HUB_OFFLINE is set"):
            pull_it()

    def test_settles_the_revision_of_an_unpinned_one_at_the_first_pull(
        self, mirror: Mirror
    ) -> None:
        with pytest.raises(CheckpointMissing, match="settled by the first pull"):
            pinned("tiny/loose")
        pull_it("tiny/loose")
        assert pinned("tiny/loose") == f"tiny/loose@{PIN}"
        mirror.put("tiny/loose", OTHER, {**FILES, "config.json": b"newer"})
        shutil.rmtree(models_folder() / "tiny" / "loose")
        assert pull_it("tiny/loose").revision == PIN

    def test_converts_a_pickle_of_tensors(self, mirror: Mirror, tmp_path: Path) -> None:
        tensors = {"a": torch.randn(3, 4), "b": torch.ones(2, dtype=torch.float16)}
        torch.save(tensors, tmp_path / "weights.bin")
        published = (tmp_path / "weights.bin").read_bytes()
        mirror.put("tiny/loose", OTHER, {"config.json": b"{}", "unet/weights.bin": published})
        pulled = pull_it("tiny/loose")
        kept = load_file(pulled.folder / "unet/weights.safetensors")
        assert all(torch.equal(kept[name], tensors[name]) for name in tensors)
        manifest = read_manifest(pulled.folder)
        assert manifest is not None
        origin = manifest.files["unet/weights.safetensors"].converted_from
        assert origin is not None
        assert origin.sha256 == hashlib.sha256(published).hexdigest()
        assert not list(models_folder().rglob("*.bin*"))

    def test_refuses_a_pickle_that_would_execute(self, mirror: Mirror, tmp_path: Path) -> None:
        class Boom:
            def __reduce__(self) -> tuple[object, ...]:
                return (os.mkdir, (str(tmp_path / "boom"),))

        torch.save({"w": Boom()}, tmp_path / "bad.bin")
        content = (tmp_path / "bad.bin").read_bytes()
        mirror.put("tiny/loose", OTHER, {"config.json": b"{}", "unet/weights.bin": content})
        with pytest.raises(PullRefused, match=r"weights\.bin: holds more than tensors"):
            pull_it("tiny/loose")
        assert not (tmp_path / "boom").exists()
        assert not list(models_folder().rglob("*.part"))

    def test_mends_a_damaged_file_and_keeps_the_good_ones(self, mirror: Mirror) -> None:
        folder = pull_it().folder
        (folder / "config.json").write_bytes(b'{"kind": "tinY"}\n')
        mirror.asked.clear()
        assert not pull_it().was_here
        assert mirror.gets("config.json")
        assert mirror.gets("weights.fp16.safetensors") == []
        assert (locate("tiny/pinned") / "config.json").read_bytes() == FILES["config.json"]

    def test_refuses_before_the_disk_is_full(
        self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            pulling.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000)
        )
        with pytest.raises(PullFailed, match="make room"):
            pull_it()
        assert mirror.gets("weights.fp16.safetensors") == []

    def test_says_that_the_folder_can_not_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "file" / "models"))
        with pytest.raises(PullRefused, match="can't be written"):
            pull_it()

    def test_works_in_a_folder_that_may_only_be_read(self) -> None:
        pull_it()
        paths = [models_folder(), *models_folder().rglob("*")]
        before = {path: path.stat().st_mtime_ns for path in paths}
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            assert locate("tiny/pinned").is_dir()
            assert pull_it().was_here
            assert check_checkpoints([], as_json=True)
            assert {
                path: path.stat().st_mtime_ns for path in models_folder().rglob("*")
            }.items() <= (before.items())
        finally:
            for path in paths:
                path.chmod(0o755)

    def test_keeps_two_pulls_apart(self) -> None:
        fcntl = pytest.importorskip("fcntl")
        (models_folder() / "tiny").mkdir(parents=True)
        with (models_folder() / "tiny" / f".pinned.{PIN}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(PullFailed, match="another pull"):
                pull_it()

    def test_sends_the_token_to_the_hub_only(
        self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        mirror.elsewhere = True
        mirror.cut["weights.fp16.safetensors"] = [200_000]
        pull_it()
        assert set(mirror.tokens) == {("127.0.0.1", "Bearer hf_secret"), ("localhost", None)}
        assert mirror.gets("weights.fp16.safetensors")[-1].endswith("bytes=200000-")
        assert HubSource()._headers(f"{mirror.url}.example.com/file") == {}


class TestReleasedFiles:
    URL = "https://github.com/someone/something/releases/download/v1/net.pth"

    @pytest.fixture
    def released(
        self, mirror: Mirror, known: list[CatalogEntry], monkeypatch: pytest.MonkeyPatch
    ) -> bytes:
        path = mirror.folder / "releases/someone/something/releases/download/v1/net.pth"
        path.parent.mkdir(parents=True)
        torch.save({"params_ema": {"w": torch.randn(40_000)}}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        weights = WeightFile(path="net.safetensors", url=self.URL, sha256=sha256)
        revision = f"sha256-{sha256[:16]}"
        known.append(record("tiny/released", revision, files=(), weights=(weights,)))
        monkeypatch.setenv("SYNTHSET_RELEASES", f"{mirror.url}/releases")
        return path.read_bytes()

    def test_are_gone_on_with_and_unwrapped(self, mirror: Mirror, released: bytes) -> None:
        mirror.cut["net.pth"] = [50_000]
        pulled = pull_it("tiny/released")
        assert [one.partition(" bytes=")[2] for one in mirror.gets("net.pth")] == ["", "50000-"]
        assert list(load_file(locate("tiny/released") / "net.safetensors")) == ["w"]
        assert files_in(pulled.folder) == {"net.safetensors", "checkpoint.json"}

    def test_are_refused_with_another_sum(self, mirror: Mirror, released: bytes) -> None:
        mirror.wrong = {"net.pth"}
        with pytest.raises(PullFailed, match=r"net\.pth .* has sha256 .* refused and removed"):
            pull_it("tiny/released")

    def test_are_verified_after_the_process_was_killed_in_the_conversion(
        self, mirror: Mirror, known: list[CatalogEntry], released: bytes
    ) -> None:
        assert known[-1].weights[0].size is None
        program = (
            "import os, sys; from models import catalog, pulling;"
            "known = catalog.CatalogEntry.model_validate_json(sys.argv[1]);"
            "catalog.entries = lambda: (known,);"
            "pulling._Pull._convert = lambda *_: os._exit(9);"
            "from models.checkpoints.pull_hub import HubSource;"
            "pulling.pull(known.id, HubSource(), lambda *_: None)"
        )
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-c", program, known[-1].model_dump_json()]
        assert subprocess.run(command, cwd=root, check=False).returncode == 9
        (part,) = models_folder().rglob("*.part")
        assert part.stat().st_size == len(released)
        mirror.sent = 0
        pull_it("tiny/released")
        assert mirror.gets("net.pth")[-1].endswith(f"bytes={len(released)}-")
        assert mirror.sent == 0
        assert list(load_file(locate("tiny/released") / "net.safetensors")) == ["w"]
        assert leftovers() == []

    def test_are_begun_anew_where_a_part_is_not_of_them(
        self, mirror: Mirror, released: bytes
    ) -> None:
        mirror.cut["net.pth"] = [50_000] + [0] * pull_transfer.TRIES
        with pytest.raises(PullFailed, match="run it again to go on: synthset models pull"):
            pull_it("tiny/released")
        mirror.cut.clear()
        (part,) = models_folder().rglob("*.part")
        part.write_bytes(released + b"more")
        with pytest.raises(PullFailed, match="refused and removed"):
            pull_it("tiny/released")
        assert not pull_it("tiny/released").was_here

    def test_that_are_gone_take_one_line(self, mirror: Mirror, released: bytes) -> None:
        shutil.rmtree(mirror.folder / "releases")
        with pytest.raises(
            PullRefused,
            match=r"/releases has no tiny/released: net\.pth \(404\); set SYNTHSET_RELEASES",
        ):
            pull_it("tiny/released")

    def test_come_from_a_folder_too(self, tmp_path: Path, released: bytes) -> None:
        (tmp_path / "usb").mkdir()
        (tmp_path / "usb" / "net.pth").write_bytes(released)
        pulled = pull_it("tiny/released", FolderSource(FolderTree(tmp_path / "usb")))
        assert pulled.revision.startswith("sha256-")
        assert pinned("tiny/released") == pulled.reference


@pytest.mark.usefixtures("mirror")
class TestFromAFolder:
    def plain(self, tmp_path: Path, name: str = "tiny/pinned") -> Path:
        for path, content in FILES.items():
            target = tmp_path / "usb" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return tmp_path / "usb"

    def imported(self, folder: Path, reference: str = "tiny/pinned") -> Pulled:
        return pull_it(reference, FolderSource(FolderTree(folder)))

    def test_without_a_word_on_its_revision_gets_one_of_its_own(self, tmp_path: Path) -> None:
        pulled = self.imported(self.plain(tmp_path))
        assert pulled.revision.startswith("local-")
        assert pinned("tiny/pinned") == pulled.reference
        assert locate("tiny/pinned") == pulled.folder
        assert self.imported(self.plain(tmp_path)).revision == pulled.revision
        assert leftovers() == []
        pull_it()
        assert pinned("tiny/pinned") == f"tiny/pinned@{PIN}"

    def test_is_the_catalogs_where_the_sums_agree(
        self, tmp_path: Path, known: list[CatalogEntry]
    ) -> None:
        sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        weights = known[0].weights[0].model_copy(update={"sha256": sha256})
        known[0] = known[0].model_copy(update={"weights": (weights,)})
        assert self.imported(self.plain(tmp_path)).revision == PIN

    def test_as_the_hubs_tool_downloads_it(self, tmp_path: Path) -> None:
        folder = self.plain(tmp_path)
        for path, content in FILES.items():
            note = folder / "tiny/pinned/.cache/huggingface/download" / f"{path}.metadata"
            note.parent.mkdir(parents=True, exist_ok=True)
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            note.write_text(f"{OTHER}\n{blob}\n1700000000.0\n")
        assert self.imported(folder).revision == OTHER
        assert pinned("tiny/pinned") == f"tiny/pinned@{OTHER}"

    def test_as_the_hubs_library_caches_it(self, tmp_path: Path) -> None:
        cache = tmp_path / "home" / "hub" / "models--tiny--pinned"
        for path, content in FILES.items():
            blob = cache / "blobs" / hashlib.sha256(content).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            link = cache / "snapshots" / PIN / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        pulled = self.imported(tmp_path / "home")
        assert pulled.revision == PIN
        assert not any(path.is_symlink() for path in pulled.folder.rglob("*"))
        shutil.rmtree(models_folder())
        blob = cache / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
        blob.write_bytes(b"x" + WEIGHTS[1:])
        with pytest.raises(PullFailed, match="refused and removed"):
            self.imported(tmp_path / "home")

    @pytest.mark.parametrize("how", ["local_dir", "cache_dir"])
    def test_as_the_hubs_library_itself_writes_it(
        self, tmp_path: Path, mirror: Mirror, how: str
    ) -> None:
        from huggingface_hub import hf_hub_download

        place = tmp_path / "usb" / ("tiny/pinned" if how == "local_dir" else "")
        for name in FILES:
            hf_hub_download(
                "tiny/pinned",
                name,
                revision=PIN,
                endpoint=mirror.url,
                **{how: place},
            )
        pulled = self.imported(tmp_path / "usb")
        assert pulled.revision == PIN
        assert (pulled.folder / "unet/weights.safetensors").read_bytes() == WEIGHTS

    def test_as_a_models_folder_keeps_it(
        self, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tensors = {"w": torch.randn(5)}
        torch.save(tensors, tmp_path / "weights.bin")
        content = (tmp_path / "weights.bin").read_bytes()
        mirror.put("tiny/loose", OTHER, {"config.json": b"{}", "unet/weights.bin": content})
        first = pull_it("tiny/loose")
        monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "second"))
        second = self.imported(tmp_path / "models", "tiny/loose")
        assert second.revision == OTHER
        one, other = read_manifest(first.folder), read_manifest(second.folder)
        assert one is not None
        assert other is not None
        assert (one.files, one.digest) == (other.files, other.digest)
        shutil.rmtree(second.folder)
        (first.folder / "config.json").write_bytes(b"[]")
        with pytest.raises(PullFailed, match=r"config\.json .* refused and removed"):
            self.imported(tmp_path / "models", "tiny/loose")

    def test_takes_what_the_catalog_does_not_know(self, tmp_path: Path) -> None:
        pulled = self.imported(self.plain(tmp_path, "me/own"), "me/own")
        assert pinned("me/own") == pulled.reference
        assert files_in(locate("me/own")) == {
            *("config.json", "tokenizer/vocab.json", "README.md", "checkpoint.json"),
            *("unet/weights.safetensors", "unet/weights.fp16.safetensors"),
        }

    def test_that_lacks_it_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(PullRefused, match="holds no tiny/loose"):
            self.imported(self.plain(tmp_path), "tiny/loose")
        with pytest.raises(PullRefused, match="no folder"):
            pull_checkpoints(["tiny/loose"], str(tmp_path / "nowhere"), None, as_json=True)

    def test_that_is_the_models_folder_is_refused(self) -> None:
        pull_it()
        with pytest.raises(PullRefused, match="is the models folder itself"):
            pull_checkpoints(["tiny/pinned"], str(models_folder()), None, as_json=True)

    def test_names_no_file_outside(self, tmp_path: Path) -> None:
        folder = tmp_path / "usb" / "tiny" / "pinned" / PIN
        folder.mkdir(parents=True)
        kept = {"size": 1, "sha256": "0" * 64}
        manifest = {"id": "tiny/pinned", "revision": PIN, "source": "x", "digest": ""}
        manifest["files"] = {"../escaped.json": kept, "unet/weights.safetensors": kept}  # type: ignore[assignment]
        (folder / "checkpoint.json").write_text(json.dumps(manifest))
        with pytest.raises(PullRefused, match="no name of a file below"):
            self.imported(tmp_path / "usb")


class TestAlternatives:
    """A checkpoint with several files of which a recipe needs one."""

    FOUR, EIGHT = few_step_unet(4), few_step_unet(8)

    @pytest.fixture
    def unets(self, mirror: Mirror, known: list[CatalogEntry]) -> dict[str, bytes]:
        weights = tuple(WeightFile(path=one, alternative=True) for one in (self.FOUR, self.EIGHT))
        known.append(record("tiny/few", PIN, files=(), weights=weights))
        files = {self.FOUR: b"four" * 9, self.EIGHT: b"eight" * 9}
        mirror.put("tiny/few", PIN, files)
        return files

    def from_folder(self, folder: Path, files: dict[str, bytes]) -> Pulled:
        cache = folder / "models--tiny--few" / "snapshots" / PIN
        cache.mkdir(parents=True)
        for name, content in files.items():
            (cache / name).write_bytes(content)
        return pull_it("tiny/few", FolderSource(FolderTree(folder)))

    def test_the_hub_gives_all_of_them(self, unets: dict[str, bytes]) -> None:
        assert files_in(pull_it("tiny/few").folder) == {*unets, "checkpoint.json"}

    def test_a_folder_may_hold_one_and_another_is_added(
        self, tmp_path: Path, mirror: Mirror, unets: dict[str, bytes]
    ) -> None:
        self.from_folder(tmp_path / "one", {self.FOUR: unets[self.FOUR]})
        assert locate("tiny/few", [self.FOUR]).is_dir()
        with pytest.raises(
            CheckpointMissing,
            match=rf"no {self.EIGHT} in .*; fetch it: synthset models pull tiny/few$",
        ):
            locate("tiny/few", [self.EIGHT])
        pulled = pull_it("tiny/few")
        assert files_in(pulled.folder) == {*unets, "checkpoint.json"}
        assert mirror.gets(self.FOUR) == []
        assert pull_it("tiny/few").was_here
        assert self.from_folder(tmp_path / "two", {self.FOUR: unets[self.FOUR]}).was_here

    def test_a_folder_adds_one_to_another(self, tmp_path: Path, unets: dict[str, bytes]) -> None:
        self.from_folder(tmp_path / "one", {self.FOUR: unets[self.FOUR]})
        pulled = self.from_folder(tmp_path / "two", {self.EIGHT: unets[self.EIGHT]})
        assert files_in(pulled.folder) == {*unets, "checkpoint.json"}
        assert check_checkpoints(["tiny/few"], as_json=True)

    def test_an_interrupted_addition_leaves_the_first_in_use(
        self, tmp_path: Path, mirror: Mirror, unets: dict[str, bytes]
    ) -> None:
        self.from_folder(tmp_path / "one", {self.FOUR: unets[self.FOUR]})
        mirror.cut[self.EIGHT] = [3] + [0] * pull_transfer.TRIES
        with pytest.raises(PullFailed, match="stopped at"):
            pull_it("tiny/few")
        assert (locate("tiny/few") / self.FOUR).read_bytes() == unets[self.FOUR]

    def test_none_of_them_is_refused(self, tmp_path: Path, unets: dict[str, bytes]) -> None:
        with pytest.raises(PullRefused, match=f"no {self.FOUR} or {self.EIGHT}"):
            self.from_folder(tmp_path / "one", {"other.safetensors": b"x"})

    def test_check_says_which_is_not_here(
        self, tmp_path: Path, unets: dict[str, bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.from_folder(tmp_path / "one", {self.FOUR: unets[self.FOUR]})
        assert check_checkpoints(["tiny/few"], as_json=False)
        said = capsys.readouterr().out
        assert f"without {self.EIGHT}; for a recipe that names it: synthset models pull" in said

    def test_a_run_is_refused_before_it_starts(
        self, tmp_path: Path, unets: dict[str, bytes]
    ) -> None:
        self.from_folder(tmp_path / "one", {self.FOUR: unets[self.FOUR]})
        for name in ("tiny/pinned", "tiny/loose"):
            pull_it(name)
        fields = {"model": "sdxl-controlnet-depth", "few_step_checkpoint": "tiny/few"}
        fields |= {"checkpoint": "tiny/pinned", "controlnet": "tiny/loose", "vae": "tiny/loose"}
        for steps, absent in ((4, None), (8, self.EIGHT)):
            background = Background.model_validate(fields | {"few_step": steps})
            recipe = Recipe(name="own", background=background)
            assert (absent_checkpoints(recipe) is None) == (absent is None)
            if absent:
                with pytest.raises(CheckpointMissing, match=f"no {absent} in .* pull tiny/few"):
                    require_checkpoints(recipe, "own")


@pytest.mark.usefixtures("rclone", "mirror")
class TestFromABucket:
    def test_reads_it_in_pieces(self, rclone_server: Server) -> None:
        import boto3

        from tasks.store.s3_tree import S3Tree

        client = boto3.client("s3")
        for path, content in FILES.items():
            client.put_object(Bucket=BUCKET, Key=f"weights/tiny/pinned/{path}", Body=content)
        tree = S3Tree(f"s3://{BUCKET}/weights", item=100_000)
        pulled = pull_it("tiny/pinned", FolderSource(tree))
        assert pulled.revision.startswith("local-")
        assert (pulled.folder / "unet/weights.safetensors").read_bytes() == WEIGHTS
        with tree.opened("tiny/pinned/unet/weights.fp16.safetensors", 100) as inputs:
            assert b"".join(inputs) == WEIGHTS[100:]

    def test_that_lacks_it_says_so(self) -> None:
        with pytest.raises(PullRefused, match=f"s3://{BUCKET}/empty holds no tiny/pinned"):
            pull_checkpoints(["tiny/pinned"], f"s3://{BUCKET}/empty", None, as_json=True)


@pytest.mark.usefixtures("mirror")
class TestCommands:
    def test_pull_prints_terms(self, capsys: pytest.CaptureFixture[str]) -> None:
        pull_checkpoints(["tiny/pinned", "tiny/pinned"], None, None, as_json=False)
        said = capsys.readouterr().out
        assert f"tiny/pinned@{PIN}: pulled and verified, 0.5 MB" in said
        assert "licence MIT, commercial use: yes" in said

    def test_pull_of_a_revision(self, capsys: pytest.CaptureFixture[str], mirror: Mirror) -> None:
        mirror.put("tiny/pinned", "c" * 40, {**FILES, "config.json": b"third"})
        pull_checkpoints(["tiny/pinned"], mirror.url, "c" * 40, as_json=True)
        (row,) = json.loads(capsys.readouterr().out)["pulled"]
        assert row["revision"] == "c" * 40
        assert pinned("tiny/pinned") == f"tiny/pinned@{PIN}"
        assert locate(f"tiny/pinned@{'c' * 40}").is_dir()

    def test_pull_of_nothing_or_of_the_unknown(self) -> None:
        with pytest.raises(PullRefused, match="name a checkpoint"):
            pull_checkpoints([], None, None, as_json=True)
        with pytest.raises(CheckpointMissing, match="did you mean tiny/pinned"):
            pull_checkpoints(["tiny/pined"], None, None, as_json=True)
        with pytest.raises(PullRefused, match="one checkpoint"):
            pull_checkpoints(["tiny/pinned", "tiny/loose"], None, PIN, as_json=True)

    def test_check_finds_what_is_damaged(self, capsys: pytest.CaptureFixture[str]) -> None:
        folder = pull_it().folder
        assert check_checkpoints([], as_json=False)
        (folder / "config.json").write_bytes(b'{"kind": "tinY"}\n')
        (folder / "tokenizer/vocab.json").unlink()
        capsys.readouterr()
        assert not check_checkpoints(["tiny/pinned"], as_json=False)
        said = capsys.readouterr().out
        assert "config.json is damaged" in said
        assert "tokenizer/vocab.json is gone" in said
        assert "mend it: synthset models pull tiny/pinned" in said
        with contextlib.suppress(CheckpointMissing):
            assert not check_checkpoints(["tiny/loose"], as_json=True)

    def test_list_says_what_is_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        pull_it("tiny/loose")
        capsys.readouterr()
        list_checkpoints(as_json=True)
        rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checkpoints"]}
        assert rows["tiny/pinned"] | {"here": False, "pinned_by": "catalog"} == rows["tiny/pinned"]
        assert [rows[one]["sums_by"] for one in ("tiny/pinned", "tiny/loose")] == [
            None,
            "models folder",
        ]
        here = {"here": True, "pinned_by": "models folder", "revision": PIN, "licence": "MIT"}
        assert rows["tiny/loose"] | here == rows["tiny/loose"]
        list_checkpoints(as_json=False)
        assert "commercial" in capsys.readouterr().out


@pytest.mark.usefixtures("mirror")
@pytest.mark.skipif(
    not any(group.name == "models" for group in cli.app.registered_groups),
    reason="synthset/main.py has no models commands yet",
)
class TestCommandLine:
    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["models", *arguments])

    def test_lists_pulls_and_checks(self) -> None:
        assert self.run("pull", "tiny/pinned", "--json").exit_code == 0
        listed = self.run("list", "--json")
        rows = {row["id"]: row["here"] for row in json.loads(listed.stdout)["checkpoints"]}
        assert rows == {"tiny/pinned": True, "tiny/loose": False}
        assert json.loads(self.run("check", "--json").stdout)["good"] is True
        (locate("tiny/pinned") / "config.json").write_bytes(b"damaged")
        checked = self.run("check")
        assert checked.exit_code == 1
        assert "config.json has 7 bytes instead of 17" in checked.stdout

    def test_says_what_is_wrong_in_one_line(self, mirror: Mirror) -> None:
        unknown = self.run("pull", "tiny/pined")
        assert unknown.exit_code == 2
        assert unknown.stderr.count("\n") == 1
        assert "did you mean tiny/pinned" in unknown.stderr
        mirror.wrong = {"config.json"}
        wrong = self.run("pull", "tiny/pinned")
        assert wrong.exit_code == 1
        assert "synthset: tiny/pinned: config.json from" in wrong.stderr
