"""Revisions of references, folders of checkpoints, and the errors when one is missing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.checkpoints.errors import CheckpointMissingError
from models.checkpoints.local import (
    KeptFile,
    Manifest,
    digest_of,
    first_absent,
    is_commercial,
    licence_of,
    locate,
    manifests,
    models_folder,
    pinned,
    read_manifest,
    set_revision,
)

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
PIN = "462165984030d82259a11f4367a4eed129e94a7b"
UNPINNED = "sudo-ai/zero123plus-v1.1"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder."""
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def write_checkpoint(checkpoint: str, revision: str, files: dict[str, bytes]) -> Path:
    """Write a checkpoint with its manifest into the models folder."""
    folder = models_folder() / checkpoint / revision
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    kept = {name: KeptFile(size=len(content), sha256="0" * 64) for name, content in files.items()}
    manifest = Manifest(
        id=checkpoint, revision=revision, source="test", files=kept, digest=digest_of(kept)
    )
    (folder / "checkpoint.json").write_text(manifest.model_dump_json())
    return folder


class TestPinned:
    def test_is_the_catalogs_revision_without_any_weights(self) -> None:
        assert pinned(SDXL) == f"{SDXL}@{PIN}"
        assert not models_folder().exists()

    def test_prefers_the_models_folders_revision_to_the_catalogs(self) -> None:
        set_revision(SDXL, "local-0123456789abcdef")
        assert pinned(SDXL) == f"{SDXL}@local-0123456789abcdef"
        assert pinned(f"{SDXL}@other") == f"{SDXL}@other"
        set_revision(SDXL, None)
        assert pinned(SDXL) == f"{SDXL}@{PIN}"

    def test_keeps_revisions_that_several_threads_set(self) -> None:
        ids = [f"me/own-{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda checkpoint: set_revision(checkpoint, "local-1"), ids))
        assert [pinned(checkpoint) for checkpoint in ids] == [f"{row}@local-1" for row in ids]

    def test_needs_a_pull_if_the_catalog_pins_no_revision(self) -> None:
        with pytest.raises(
            CheckpointMissingError,
            match=f"first pull sets its revision: synthset models pull {UNPINNED}",
        ):
            pinned(UNPINNED)
        set_revision(UNPINNED, PIN)
        assert pinned(UNPINNED) == f"{UNPINNED}@{PIN}"

    def test_suggests_similar_ids_for_an_unknown_one(self) -> None:
        with pytest.raises(
            CheckpointMissingError, match=r"not in the catalog; did you mean Intel/dpt-large"
        ):
            pinned("Intel/dpt-larg")
        with pytest.raises(
            CheckpointMissingError, match=r"not in the catalog; \(synthset models list\)"
        ):
            pinned("zzz/qqq")

    def test_names_the_successor_of_a_withdrawn_checkpoint(self) -> None:
        with pytest.raises(CheckpointMissingError, match=r"withdrawn .* use sd2-community/"):
            pinned("stabilityai/stable-diffusion-2-inpainting")

    @pytest.mark.parametrize(
        "reference",
        [
            "",
            "sdxl",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@../c",
            "a/b@c/d",
            "/a/b",
            "a /b",
            "a/b@..",
        ],
    )
    def test_refuses_another_form_of_reference(self, reference: str) -> None:
        with pytest.raises(CheckpointMissingError, match="write owner/name or owner/name@revision"):
            pinned(reference)

    def test_names_a_damaged_revisions_file(self) -> None:
        models_folder().mkdir()
        (models_folder() / "revisions.json").write_text("[1]")
        with pytest.raises(CheckpointMissingError, match=r"revisions\.json is no JSON object"):
            pinned(SDXL)


class TestLocate:
    def test_finds_a_complete_checkpoint(self) -> None:
        folder = write_checkpoint(
            SDXL, PIN, {"unet/config.json": b"{}", "unet/w.safetensors": b"12345"}
        )
        assert locate(SDXL) == folder == locate(f"{SDXL}@{PIN}")
        assert [manifest.id for manifest in manifests()] == [SDXL]

    def test_names_the_missing_file_and_the_command(self) -> None:
        command = f"fetch it: synthset models pull {SDXL}"
        with pytest.raises(CheckpointMissingError, match=f"no checkpoint.json in .*{command}$"):
            locate(SDXL)
        folder = write_checkpoint(
            SDXL, PIN, {"unet/config.json": b"{}", "unet/w.safetensors": b"12345"}
        )
        (folder / "unet/w.safetensors").write_bytes(b"123")
        with pytest.raises(
            CheckpointMissingError, match=r"unet/w.safetensors in .* has 3 bytes instead of 5"
        ):
            locate(SDXL)
        (folder / "unet/w.safetensors").unlink()
        with pytest.raises(
            CheckpointMissingError, match=rf"no unet/w.safetensors in .*{command}$"
        ) as missing:
            locate(SDXL)
        assert "\n" not in str(missing.value)
        with pytest.raises(CheckpointMissingError, match=f"pull {SDXL} --revision {'b' * 40}$"):
            locate(f"{SDXL}@{'b' * 40}")

    def test_names_a_folder_as_source_of_local_revisions(self) -> None:
        set_revision("me/own", "local-0123456789abcdef")
        with pytest.raises(CheckpointMissingError, match=r"pull me/own --from FOLDER$"):
            locate("me/own")

    def test_treats_a_damaged_manifest_as_missing(self) -> None:
        folder = write_checkpoint(SDXL, PIN, {"a.json": b"{}"})
        assert first_absent(folder) is None
        (folder / "checkpoint.json").write_text('{"id": ')
        assert read_manifest(folder) is None
        assert first_absent(folder) == f"no checkpoint.json in {folder}"


def test_terms_of_references() -> None:
    assert licence_of("sudo-ai/zero123plus-v1.2@abc") == "CC-BY-NC-4.0"
    assert is_commercial("sudo-ai/zero123plus-v1.2") is False
    assert is_commercial(SDXL) is True
    assert is_commercial("me/own") is None
    assert licence_of("me/own") == "none stated"


def test_digest_depends_on_names_and_published_checksums_only() -> None:
    one = KeptFile(size=1, sha256="1" * 64)
    other = KeptFile.model_validate(
        {
            "size": 9,
            "sha256": "2" * 64,
            "converted_from": {"path": "a.bin", "size": 1, "sha256": "1" * 64},
        }
    )
    assert digest_of({"a": one}) == digest_of({"a": other})
    assert digest_of({"a": one}) != digest_of({"b": one})
    assert digest_of({"a": one, "b": other}) == digest_of({"b": other, "a": one})


def test_the_default_folder_is_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTHSET_MODELS")
    assert models_folder() == Path.home() / ".cache" / "synthset" / "models"
