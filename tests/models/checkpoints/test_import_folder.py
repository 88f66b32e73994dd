"""Imports from files on this machine, in every layout that is accepted."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoints.catalog import CatalogEntry, WeightFile, few_step_unet
from models.checkpoints.download import pull
from models.checkpoints.errors import (
    CheckpointMissingError,
    PullFailedError,
    PullRefusedError,
)
from models.checkpoints.import_folder import import_checkpoint
from models.checkpoints.local import locate, models_folder, pinned, read_manifest
from models.checkpoints.publish import PulledCheckpoint
from tests.checkpoints import isnet, realesrgan
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
    write_files,
)


def import_from(source: Path, reference: str = "tiny/pinned") -> PulledCheckpoint:
    return import_checkpoint(reference, source, ignore_progress)


def set_sha256(catalog: list[CatalogEntry], sha256: str) -> None:
    """Let the catalog know the sha256 of the weights of tiny/pinned."""
    weights = catalog[0].weights[0].model_copy(update={"sha256": sha256})
    catalog[0] = catalog[0].model_copy(update={"weights": (weights,)})


@pytest.mark.usefixtures("mirror")
class TestCopyOfTheRepository:
    def copy(self, tmp_path: Path, checkpoint: str = "tiny/pinned") -> Path:
        """A folder that holds the repository in ``<id>/``."""
        write_files(tmp_path / "usb" / checkpoint, FILES)
        return tmp_path / "usb"

    def test_that_states_no_revision_gets_a_local_one(self, tmp_path: Path) -> None:
        pulled = import_from(self.copy(tmp_path))
        assert pulled.revision.startswith("local-")
        assert pinned("tiny/pinned") == pulled.reference
        assert locate("tiny/pinned") == pulled.folder
        assert import_from(self.copy(tmp_path)).revision == pulled.revision
        assert staged_files() == []
        pull("tiny/pinned", ignore_progress)
        assert pinned("tiny/pinned") == f"tiny/pinned@{PIN}"

    def test_may_be_the_folder_itself(self, tmp_path: Path) -> None:
        folder = self.copy(tmp_path) / "tiny" / "pinned"
        assert files_in(import_from(folder).folder) == {
            "checkpoint.json",
            "config.json",
            "tokenizer/vocab.json",
            "unet/weights.safetensors",
        }

    def test_has_the_catalogs_revision_if_the_checksums_agree(
        self, tmp_path: Path, catalog: list[CatalogEntry]
    ) -> None:
        set_sha256(catalog, hashlib.sha256(WEIGHTS).hexdigest())
        assert import_from(self.copy(tmp_path)).revision == PIN

    def test_leaves_the_source_as_it_was(self, tmp_path: Path) -> None:
        folder = self.copy(tmp_path)
        pulled = import_from(folder)
        (pulled.folder / "config.json").write_bytes(b"[]")
        for name, content in FILES.items():
            assert (folder / "tiny/pinned" / name).read_bytes() == content

    def test_that_the_hubs_tool_downloaded_states_its_commit(self, tmp_path: Path) -> None:
        folder = self.copy(tmp_path)
        for path, content in FILES.items():
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            note = f"tiny/pinned/.cache/huggingface/download/{path}.metadata"
            write_files(folder, {note: f"{OTHER}\n{blob}\n1700000000.0\n".encode()})
        assert import_from(folder).revision == OTHER
        assert pinned("tiny/pinned") == f"tiny/pinned@{OTHER}"

    def test_of_the_catalogs_commit_must_have_the_catalogs_checksums(
        self, tmp_path: Path, catalog: list[CatalogEntry]
    ) -> None:
        set_sha256(catalog, "0" * 64)
        write_files(tmp_path / "models--tiny--pinned/snapshots" / PIN, FILES)
        with pytest.raises(PullRefusedError, match="the catalog 000000000000; use another source"):
            import_from(tmp_path)

    def test_takes_all_files_of_a_checkpoint_that_the_catalog_does_not_have(
        self, tmp_path: Path
    ) -> None:
        pulled = import_from(self.copy(tmp_path, "me/own"), "me/own")
        assert pinned("me/own") == pulled.reference
        assert files_in(locate("me/own")) == {
            "README.md",
            "checkpoint.json",
            "config.json",
            "tokenizer/vocab.json",
            "unet/weights.fp16.safetensors",
            "unet/weights.safetensors",
        }

    def test_without_the_checkpoint_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PullRefusedError, match=r"usb holds no tiny/unpinned: no folder"):
            import_from(self.copy(tmp_path), "tiny/unpinned")
        with pytest.raises(PullRefusedError, match="no such folder or file"):
            import_from(tmp_path / "nowhere", "tiny/unpinned")


@pytest.mark.usefixtures("mirror")
class TestHubCache:
    def cache(self, tmp_path: Path) -> Path:
        """A cache of huggingface_hub; returns the folder of the checkpoint."""
        folder = tmp_path / "home" / "hub" / "models--tiny--pinned"
        for path, content in FILES.items():
            blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
            link = folder / "snapshots" / PIN / path
            write_files(blob.parent, {blob.name: content})
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        return folder

    @pytest.mark.parametrize("below", ["home", "home/hub", "home/hub/models--tiny--pinned"])
    def test_states_its_commit(self, tmp_path: Path, below: str) -> None:
        self.cache(tmp_path)
        pulled = import_from(tmp_path / below)
        assert pulled.revision == PIN
        assert not any(path.is_symlink() for path in pulled.folder.rglob("*"))

    def test_with_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        blob = self.cache(tmp_path) / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
        blob.write_bytes(b"x" + WEIGHTS[1:])
        with pytest.raises(PullFailedError, match="was not kept"):
            import_from(tmp_path / "home")
        assert blob.is_file()

    @pytest.mark.parametrize("how", ["local_dir", "cache_dir"])
    def test_that_the_library_wrote_is_read(self, tmp_path: Path, mirror: Mirror, how: str) -> None:
        from huggingface_hub import hf_hub_download

        folder = tmp_path / "usb" / ("tiny/pinned" if how == "local_dir" else "")
        for name in FILES:
            hf_hub_download(
                "tiny/pinned",
                name,
                revision=PIN,
                endpoint=mirror.url,
                local_dir=folder if how == "local_dir" else None,
                cache_dir=folder if how == "cache_dir" else None,
            )
        pulled = import_from(tmp_path / "usb")
        assert pulled.revision == PIN
        assert (pulled.folder / "unet/weights.safetensors").read_bytes() == WEIGHTS


@pytest.mark.usefixtures("mirror")
class TestModelsFolder:
    def test_keeps_revision_and_checksums(
        self, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.save({"w": torch.randn(5)}, tmp_path / "weights.bin")
        content = (tmp_path / "weights.bin").read_bytes()
        mirror.put("tiny/unpinned", OTHER, {"config.json": b"{}", "unet/weights.bin": content})
        first = pull("tiny/unpinned", ignore_progress)
        monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "second"))
        second = import_from(tmp_path / "models", "tiny/unpinned")
        assert second.revision == OTHER
        manifest, copied = read_manifest(first.folder), read_manifest(second.folder)
        assert manifest is not None
        assert copied is not None
        assert (manifest.files, manifest.digest) == (copied.files, copied.digest)
        shutil.rmtree(second.folder)
        (first.folder / "config.json").write_bytes(b"[]")
        with pytest.raises(PullFailedError, match=r"config\.json .* was not kept"):
            import_from(tmp_path / "models", "tiny/unpinned")

    def test_that_is_the_one_in_use_is_refused(self) -> None:
        pull("tiny/pinned", ignore_progress)
        with pytest.raises(PullRefusedError, match="is the models folder itself"):
            import_from(models_folder())

    def test_that_names_a_file_outside_is_refused(self, tmp_path: Path) -> None:
        kept = {"size": 1, "sha256": "0" * 64}
        manifest = {
            "id": "tiny/pinned",
            "revision": PIN,
            "source": "x",
            "digest": "",
            "files": {"../escaped.json": kept, "unet/weights.safetensors": kept},
        }
        path = f"tiny/pinned/{PIN}/checkpoint.json"
        write_files(tmp_path / "usb", {path: json.dumps(manifest).encode()})
        with pytest.raises(PullRefusedError, match="leads outside its folder"):
            import_from(tmp_path / "usb")


@pytest.mark.usefixtures("mirror")
class TestPublishedFile:
    """A folder that holds just the file that was downloaded, or the file itself."""

    @pytest.fixture
    def published(self, tmp_path: Path, catalog: list[CatalogEntry]) -> Path:
        """A folder with tiny weights of IS-Net and Real-ESRGAN under their published names."""
        folder = tmp_path / "Downloads"
        folder.mkdir()
        for build, stem in (
            (isnet.build, "isnet-general-use"),
            (realesrgan.build_x4, "RealESRGAN_x4plus"),
        ):
            build(tmp_path / stem)
            tensors = load_file(tmp_path / stem / f"{stem}.safetensors")
            torch.save({"params_ema": tensors}, folder / f"{stem}.pth")
            sha256 = hashlib.sha256((folder / f"{stem}.pth").read_bytes()).hexdigest()
            url = f"https://github.com/someone/something/{stem}.pth"
            weights = (WeightFile(path=f"{stem}.safetensors", url=url, sha256=sha256),)
            revision = f"sha256-{sha256[:16]}"
            catalog.append(catalog_entry(f"tiny/{stem}", revision, files=(), weights=weights))
        (folder / "holiday.json").write_text("{}")
        return folder

    @pytest.mark.parametrize("stem", ["isnet-general-use", "RealESRGAN_x4plus"])
    @pytest.mark.parametrize("source", [".", "{stem}.pth", "{stem} (1).pth"])
    def test_is_converted_and_verified_as_from_the_hub(
        self, tmp_path: Path, published: Path, stem: str, source: str
    ) -> None:
        path = published / source.format(stem=stem)
        if not path.exists():
            (published / f"{stem}.pth").rename(path)
        pulled = import_from(path, f"tiny/{stem}")
        assert pulled.revision.startswith("sha256-")
        assert pinned(f"tiny/{stem}") == pulled.reference
        assert files_in(pulled.folder) == {"checkpoint.json", f"{stem}.safetensors"}
        tensors = load_file(pulled.folder / f"{stem}.safetensors")
        built = load_file(tmp_path / stem / f"{stem}.safetensors")
        assert all(torch.equal(tensors[name], built[name]) for name in built)
        assert tensors.keys() == built.keys()

    def test_with_other_bytes_gets_a_local_revision(self, published: Path) -> None:
        torch.save({"w": torch.ones(3)}, published / "isnet-general-use.pth")
        pulled = import_from(published, "tiny/isnet-general-use")
        assert pulled.revision.startswith("local-")

    def test_may_be_converted_already(self, tmp_path: Path, published: Path) -> None:
        save_file({"w": torch.ones(3)}, tmp_path / "RealESRGAN_x4plus.safetensors")
        pulled = import_from(tmp_path / "RealESRGAN_x4plus.safetensors", "tiny/RealESRGAN_x4plus")
        assert list(load_file(pulled.folder / "RealESRGAN_x4plus.safetensors")) == ["w"]

    def test_that_would_execute_code_is_refused(self, tmp_path: Path, published: Path) -> None:
        torch.save({"w": CreatesFolder(tmp_path / "created")}, published / "isnet-general-use.pth")
        with pytest.raises(PullRefusedError, match="holds more than tensors"):
            import_from(published, "tiny/isnet-general-use")
        assert not (tmp_path / "created").exists()

    def test_without_the_other_files_of_its_checkpoint_is_refused(self, tmp_path: Path) -> None:
        write_files(tmp_path, {"weights.bin": WEIGHTS})
        with pytest.raises(PullRefusedError, match=r"has no config\.json"):
            import_from(tmp_path / "weights.bin")


class TestAlternatives:
    """A checkpoint with several files of which a recipe needs one."""

    FOUR, EIGHT = few_step_unet(4), few_step_unet(8)

    @pytest.fixture(autouse=True)
    def few_steps(self, mirror: Mirror, catalog: list[CatalogEntry]) -> None:
        """The checkpoint tiny/few on the mirror."""
        names = (self.FOUR, self.EIGHT)
        weights = tuple(WeightFile(path=name, alternative=True) for name in names)
        catalog.append(catalog_entry("tiny/few", PIN, files=(), weights=weights))
        mirror.put("tiny/few", PIN, {name: name.encode() * 9 for name in names})

    def import_only(self, folder: Path, name: str) -> PulledCheckpoint:
        snapshot = f"models--tiny--few/snapshots/{PIN}/{name}"
        return import_from(write_files(folder, {snapshot: name.encode() * 9}), "tiny/few")

    def test_a_folder_may_hold_one_and_the_hub_adds_the_other(
        self, tmp_path: Path, mirror: Mirror
    ) -> None:
        self.import_only(tmp_path / "1", self.FOUR)
        assert locate("tiny/few", [self.FOUR]).is_dir()
        with pytest.raises(
            CheckpointMissingError,
            match=rf"no {self.EIGHT} in .*; fetch it: synthset models pull tiny/few$",
        ):
            locate("tiny/few", [self.EIGHT])
        pulled = pull("tiny/few", ignore_progress)
        assert files_in(pulled.folder) == {self.FOUR, self.EIGHT, "checkpoint.json"}
        assert mirror.downloads(self.FOUR) == []
        assert pull("tiny/few", ignore_progress).was_here
        assert self.import_only(tmp_path / "2", self.FOUR).was_here

    def test_a_folder_adds_one_to_another(self, tmp_path: Path) -> None:
        self.import_only(tmp_path / "1", self.FOUR)
        pulled = self.import_only(tmp_path / "2", self.EIGHT)
        assert files_in(pulled.folder) == {self.FOUR, self.EIGHT, "checkpoint.json"}

    def test_a_failed_addition_leaves_the_first_in_use(
        self, tmp_path: Path, mirror: Mirror
    ) -> None:
        self.import_only(tmp_path / "1", self.FOUR)
        mirror.wrong = {self.EIGHT}
        with pytest.raises(PullFailedError, match="was not kept"):
            pull("tiny/few", ignore_progress)
        assert (locate("tiny/few") / self.FOUR).read_bytes() == self.FOUR.encode() * 9

    def test_a_folder_with_none_of_them_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PullRefusedError, match=f"no {self.FOUR} or {self.EIGHT}"):
            import_from(write_files(tmp_path / "1", {"tiny/few/README.md": b"x"}), "tiny/few")
