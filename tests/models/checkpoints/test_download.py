"""Pulls from a mirror: complete, verified, repeatable, and refused in one line."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoints import publish
from models.checkpoints.catalog import CatalogEntry, WeightFile, few_step_unet
from models.checkpoints.download import pull
from models.checkpoints.errors import (
    CheckpointMissingError,
    PullFailedError,
    PullRefusedError,
)
from models.checkpoints.local import locate, models_folder, pinned, read_manifest
from models.checkpoints.publish import PulledCheckpoint
from models.data.file_lock import file_lock
from tests.mirror import Mirror
from tests.published import (
    FILES,
    OTHER,
    PIN,
    WEIGHTS,
    CreatesFolder,
    catalog_entry,
    files_in,
    ignore_progress,
    staged_files,
)

ROOT = Path(__file__).resolve().parents[3]
# Pulls the checkpoint whose catalog entry is the first argument.
PROGRAM = """
import sys
from models.checkpoints import catalog, download, publish
known = catalog.CatalogEntry.model_validate_json(sys.argv[1])
catalog.entries = lambda: (known,)
{change}
download.pull(known.id, lambda done, total, doing: print(doing, flush=True))
"""


def pull_tiny(reference: str = "tiny/pinned") -> PulledCheckpoint:
    return pull(reference, ignore_progress)


@pytest.mark.usefixtures("mirror")
class TestPull:
    def test_takes_the_pinned_commit_and_only_the_listed_files(self, mirror: Mirror) -> None:
        mirror.main["tiny/pinned"] = OTHER
        pulled = pull_tiny()
        folder = locate("tiny/pinned")
        assert folder == pulled.folder == models_folder() / "tiny" / "pinned" / PIN
        assert files_in(folder) == {
            "checkpoint.json",
            "config.json",
            "tokenizer/vocab.json",
            "unet/weights.safetensors",
        }
        assert (folder / "unet/weights.safetensors").read_bytes() == WEIGHTS
        manifest = read_manifest(folder)
        assert manifest is not None
        assert manifest.source == mirror.url
        sha256 = hashlib.sha256(FILES["config.json"]).hexdigest()
        assert manifest.files["config.json"].sha256 == sha256
        assert not any("main" in line for line in mirror.requests)
        assert not list(models_folder().rglob("*.partial"))

    def test_verifies_a_checkpoint_that_is_here_without_any_request(self, mirror: Mirror) -> None:
        pull_tiny()
        mirror.requests.clear()
        assert pull_tiny().was_here
        assert mirror.requests == []

    def test_tries_again_after_a_broken_connection(self, mirror: Mirror) -> None:
        mirror.cut["weights.fp16.safetensors"] = [200_000]
        pull_tiny()
        assert len(mirror.downloads("weights.fp16.safetensors")) == 2
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS

    def test_a_repeated_pull_fetches_only_files_that_were_not_complete(
        self, mirror: Mirror
    ) -> None:
        mirror.cut["weights.fp16.safetensors"] = [200_000] + [0] * 20
        with pytest.raises(
            PullFailedError, match=r"broke off .*; run it again: synthset models pull"
        ):
            pull_tiny()
        with pytest.raises(CheckpointMissingError, match=r"no checkpoint\.json in"):
            locate("tiny/pinned")
        mirror.requests.clear()
        mirror.cut.clear()
        pull_tiny()
        assert mirror.downloads("config.json") == []
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS

    def test_a_killed_pull_leaves_no_checkpoint_and_can_be_repeated(self) -> None:
        program = PROGRAM.format(change="import os; publish._keep = lambda *_: os._exit(9)")
        known = catalog_entry("tiny/pinned", PIN).model_dump_json()
        killed = subprocess.run([sys.executable, "-c", program, known], cwd=ROOT, check=False)
        assert killed.returncode == 9
        with pytest.raises(CheckpointMissingError):
            locate("tiny/pinned")
        pull_tiny()
        assert (locate("tiny/pinned") / "unet/weights.safetensors").read_bytes() == WEIGHTS
        assert staged_files() == []

    def test_ctrl_c_ends_a_slow_download(self, mirror: Mirror) -> None:
        mirror.pause_s = 5.0
        # A shell's background job ignores SIGINT, and so would its child.
        change = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 1000"
        )
        program = PROGRAM.format(change=change)
        known = catalog_entry("tiny/pinned", PIN).model_dump_json()
        process = subprocess.Popen(
            [sys.executable, "-c", program, known],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert any("downloading" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in stderr
        received = [path.stat().st_size for path in staged_files()]
        assert max(received, default=0) < len(WEIGHTS)
        with pytest.raises(CheckpointMissingError):
            locate("tiny/pinned")

    @pytest.mark.parametrize("name", ["weights.fp16.safetensors", "config.json"])
    def test_refuses_wrong_bytes_and_removes_them(self, mirror: Mirror, name: str) -> None:
        mirror.wrong = {name}
        with pytest.raises(PullFailedError, match="was not kept; pull it again") as refused:
            pull_tiny()
        assert name in str(refused.value)
        assert "\n" not in str(refused.value)
        assert not [path for path in staged_files() if path.name == name]
        with pytest.raises(CheckpointMissingError):
            locate("tiny/pinned")
        mirror.wrong.clear()
        assert not pull_tiny().was_here

    def test_refuses_a_mirror_that_gives_another_commit(self, mirror: Mirror) -> None:
        mirror.stands_for[PIN] = OTHER
        with pytest.raises(
            PullRefusedError, match=f"gives commit {OTHER} of tiny/pinned for {PIN}"
        ):
            pull_tiny()

    @pytest.mark.parametrize(
        ("status", "code"), [(401, None), (403, "GatedRepo"), (401, "GatedRepo")]
    )
    def test_says_in_one_line_how_to_get_access(
        self, mirror: Mirror, status: int, code: str | None
    ) -> None:
        mirror.status, mirror.error_code = status, code
        with pytest.raises(PullRefusedError, match=r"accept its terms .* set HF_TOKEN") as refused:
            pull_tiny()
        assert f"({status})" in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_refuses_other_weights_than_the_catalogs_before_fetching_them(
        self, mirror: Mirror, catalog: list[CatalogEntry]
    ) -> None:
        weights = catalog[0].weights[0].model_copy(update={"sha256": "0" * 64})
        catalog[0] = catalog[0].model_copy(update={"weights": (weights,)})
        with pytest.raises(PullRefusedError, match=r"the catalog 0000.* pull tiny/pinned --from"):
            pull_tiny()
        assert mirror.downloads("weights.fp16.safetensors") == []
        mirror.put("tiny/pinned", OTHER, FILES)
        assert pull_tiny(f"tiny/pinned@{OTHER}").revision == OTHER

    def test_says_in_one_line_that_the_mirror_does_not_have_it(self, mirror: Mirror) -> None:
        mirror.status = 404
        with pytest.raises(
            PullRefusedError,
            match=r"does not have tiny/pinned \(404\); set HF_ENDPOINT .* --from FOLDER",
        ) as refused:
            pull_tiny()
        assert "\n" not in str(refused.value)

    def test_names_a_revision_that_does_not_exist(self) -> None:
        with pytest.raises(PullRefusedError, match="does not have this revision"):
            pull_tiny(f"tiny/pinned@{'c' * 40}")

    def test_names_a_file_that_a_revision_lacks(self) -> None:
        with pytest.raises(PullRefusedError, match=r"has no unet/weights\.fp16\.safetensors"):
            pull_tiny(f"tiny/pinned@{OTHER}")

    def test_reports_a_server_that_keeps_failing(self, mirror: Mirror) -> None:
        mirror.status = 500
        with pytest.raises(PullFailedError, match="answers 500 for tiny/pinned; try later"):
            pull_tiny()

    def test_says_in_one_line_what_to_do_without_a_network(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(
            PullFailedError, match=r"127\.0\.0\.1:9 does not answer .* --from FOLDER"
        ):
            pull_tiny()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(PullRefusedError, match="HF_HUB_OFFLINE is set"):
            pull_tiny()

    def test_the_first_pull_sets_the_revision_of_an_unpinned_checkpoint(
        self, mirror: Mirror
    ) -> None:
        with pytest.raises(CheckpointMissingError, match="the first pull sets its revision"):
            pinned("tiny/unpinned")
        pull_tiny("tiny/unpinned")
        assert pinned("tiny/unpinned") == f"tiny/unpinned@{PIN}"
        mirror.put("tiny/unpinned", OTHER, {**FILES, "config.json": b"newer"})
        shutil.rmtree(models_folder() / "tiny" / "unpinned")
        assert pull_tiny("tiny/unpinned").revision == PIN

    def test_converts_a_pickle_of_tensors(self, mirror: Mirror, tmp_path: Path) -> None:
        tensors = {"a": torch.randn(3, 4), "b": torch.ones(2, dtype=torch.float16)}
        torch.save(tensors, tmp_path / "weights.bin")
        published = (tmp_path / "weights.bin").read_bytes()
        mirror.put("tiny/unpinned", OTHER, {"config.json": b"{}", "unet/weights.bin": published})
        pulled = pull_tiny("tiny/unpinned")
        kept = load_file(pulled.folder / "unet/weights.safetensors")
        assert all(torch.equal(kept[name], tensors[name]) for name in tensors)
        manifest = read_manifest(pulled.folder)
        assert manifest is not None
        origin = manifest.files["unet/weights.safetensors"].converted_from
        assert origin is not None
        assert origin.sha256 == hashlib.sha256(published).hexdigest()
        assert not list(models_folder().rglob("*.bin*"))

    def test_refuses_a_pickle_that_would_execute_code(self, mirror: Mirror, tmp_path: Path) -> None:
        torch.save({"w": CreatesFolder(tmp_path / "created")}, tmp_path / "bad.bin")
        content = (tmp_path / "bad.bin").read_bytes()
        mirror.put("tiny/unpinned", OTHER, {"config.json": b"{}", "unet/weights.bin": content})
        with pytest.raises(PullRefusedError, match=r"weights\.bin holds more than tensors"):
            pull_tiny("tiny/unpinned")
        assert not (tmp_path / "created").exists()

    def test_replaces_a_damaged_file_and_keeps_the_good_ones(self, mirror: Mirror) -> None:
        folder = pull_tiny().folder
        (folder / "config.json").write_bytes(b'{"kind": "tinY"}\n')
        mirror.requests.clear()
        assert not pull_tiny().was_here
        assert mirror.downloads("config.json")
        assert mirror.downloads("weights.fp16.safetensors") == []
        assert (locate("tiny/pinned") / "config.json").read_bytes() == FILES["config.json"]

    def test_refuses_before_the_disk_is_full(
        self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = shutil._ntuple_diskusage(1, 1, 1000)
        monkeypatch.setattr(publish.shutil, "disk_usage", lambda _: full)
        with pytest.raises(PullFailedError, match="free space"):
            pull_tiny()
        assert mirror.downloads("weights.fp16.safetensors") == []

    def test_reports_a_full_disk_in_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(publish, "_keep", fail)
        with pytest.raises(PullFailedError, match="No space left on device; free space and run"):
            pull_tiny()

    def test_names_a_models_folder_that_can_not_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "file" / "models"))
        with pytest.raises(PullRefusedError, match="can't be written"):
            pull_tiny()

    def test_writes_nothing_into_a_folder_that_is_complete(self) -> None:
        pull_tiny()
        paths = [models_folder(), *models_folder().rglob("*")]
        before = {path: path.stat().st_mtime_ns for path in paths}
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            assert locate("tiny/pinned").is_dir()
            assert pull_tiny().was_here
            assert {path: path.stat().st_mtime_ns for path in paths} == before
        finally:
            for path in paths:
                path.chmod(0o755)

    def test_refuses_a_second_pull_of_the_same_checkpoint(self) -> None:
        pytest.importorskip("fcntl")
        with (
            file_lock(models_folder() / "tiny" / ".pinned.lock"),
            pytest.raises(PullFailedError, match="another pull of it is running"),
        ):
            pull_tiny()

    def test_sends_the_token_to_the_hub_only(
        self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        mirror.redirects = True
        pull_tiny()
        assert set(mirror.credentials) == {
            ("127.0.0.1", "Bearer hf_secret"),
            ("localhost", None),
        }


class TestReleasedFiles:
    URL = "https://github.com/someone/something/releases/download/v1/net.pth"

    @pytest.fixture
    def released(
        self, mirror: Mirror, catalog: list[CatalogEntry], monkeypatch: pytest.MonkeyPatch
    ) -> bytes:
        """The bytes of a file that is published at a URL outside the hub."""
        path = mirror.folder / "releases/someone/something/releases/download/v1/net.pth"
        path.parent.mkdir(parents=True)
        torch.save({"params_ema": {"w": torch.randn(40_000)}}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        weights = WeightFile(path="net.safetensors", url=self.URL, sha256=sha256)
        revision = f"sha256-{sha256[:16]}"
        catalog.append(catalog_entry("tiny/released", revision, files=(), weights=(weights,)))
        monkeypatch.setenv("SYNTHSET_RELEASES", f"{mirror.url}/releases")
        return path.read_bytes()

    def test_are_tried_again_after_a_broken_connection_and_unwrapped(
        self, mirror: Mirror, released: bytes
    ) -> None:
        mirror.cut["net.pth"] = [50_000]
        pulled = pull_tiny("tiny/released")
        assert len(mirror.downloads("net.pth")) == 2
        assert list(load_file(locate("tiny/released") / "net.safetensors")) == ["w"]
        assert files_in(pulled.folder) == {"net.safetensors", "checkpoint.json"}

    def test_get_no_token(
        self, mirror: Mirror, released: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        pull_tiny("tiny/released")
        assert set(mirror.credentials) == {("127.0.0.1", None)}

    def test_are_refused_with_another_sha256(self, mirror: Mirror, released: bytes) -> None:
        mirror.wrong = {"net.pth"}
        with pytest.raises(PullFailedError, match=r"net\.pth .* has sha256 .* was not kept"):
            pull_tiny("tiny/released")
        assert staged_files() == []

    def test_are_not_fetched_again_after_a_kill_in_the_conversion(
        self, mirror: Mirror, catalog: list[CatalogEntry], released: bytes
    ) -> None:
        program = PROGRAM.format(change="import os; publish._convert = lambda *_: os._exit(9)")
        command = [sys.executable, "-c", program, catalog[-1].model_dump_json()]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9
        mirror.requests.clear()
        pull_tiny("tiny/released")
        assert mirror.requests == []
        assert list(load_file(locate("tiny/released") / "net.safetensors")) == ["w"]
        assert staged_files() == []

    def test_that_are_gone_take_one_line(self, mirror: Mirror, released: bytes) -> None:
        shutil.rmtree(mirror.folder / "releases")
        with pytest.raises(
            PullRefusedError,
            match=r"net\.pth does not have tiny/released \(404\); set SYNTHSET_REL",
        ) as refused:
            pull_tiny("tiny/released")
        assert "\n" not in str(refused.value)


class TestAlternatives:
    """A checkpoint with several files of which a recipe needs one."""

    FOUR, EIGHT = few_step_unet(4), few_step_unet(8)

    def test_the_hub_gives_all_of_them(self, mirror: Mirror, catalog: list[CatalogEntry]) -> None:
        names = (self.FOUR, self.EIGHT)
        weights = tuple(WeightFile(path=name, alternative=True) for name in names)
        catalog.append(catalog_entry("tiny/few", PIN, files=(), weights=weights))
        mirror.put("tiny/few", PIN, {name: name.encode() * 9 for name in names})
        assert files_in(pull_tiny("tiny/few").folder) == {*names, "checkpoint.json"}


def test_a_new_process_finds_the_folder(mirror: Mirror) -> None:
    pull_tiny()
    reference = f"tiny/pinned@{PIN}"
    program = f"from models.checkpoints.local import locate; print(locate({reference!r}))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=dict(os.environ),
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(locate("tiny/pinned"))
