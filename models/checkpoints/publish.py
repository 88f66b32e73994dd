"""Verify the files of a checkpoint and put them into the models folder, all or none.

Files are gathered in a hidden staging folder on the same disk. When all are verified, the folder is
renamed to ``<id>/<revision>``; its manifest is written last. An interrupted pull leaves only the
staging folder, and the next pull of the same revision reuses the complete files in it.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints.catalog import CatalogEntry
from models.checkpoints.choose_files import WantedFile
from models.checkpoints.errors import NotTensorsError, PullFailedError, PullRefusedError
from models.checkpoints.local import (
    LOCAL,
    MANIFEST,
    PULL,
    KeptFile,
    Manifest,
    Origin,
    digest_of,
    folder_of,
    models_folder,
    read_manifest,
    set_revision,
)
from models.checkpoints.verify import ProgressCallback, checksum_of, damaged_files
from models.data.file_lock import file_lock
from models.data.files import write_atomic

SPARE_BYTES = 64 << 20

# Brings the published files to this machine, if need be into the given folder, and returns where
# each of them lies.
Fetch = Callable[[Sequence[WantedFile], Path], Sequence[Path]]


@dataclass(frozen=True)
class PulledCheckpoint:
    """A checkpoint in the models folder. ``was_here`` is true if nothing had to be fetched."""

    id: str
    revision: str
    folder: Path
    size: int
    was_here: bool = False

    @property
    def reference(self) -> str:
        """``id@revision``."""
        return f"{self.id}@{self.revision}"


@dataclass(frozen=True)
class Delivery:
    """What a source has of a checkpoint.

    ``revision`` is None if the source does not state one; it then follows from the checksums.
    """

    checkpoint: str
    known: CatalogEntry | None
    revision: str | None
    source: str
    wanted: Sequence[WantedFile]

    @property
    def is_catalog_revision(self) -> bool:
        """Whether the source states the revision that the catalog pins."""
        return self.known is not None and self.revision == self.known.revision is not None


def find_verified(
    checkpoint: str, revision: str | None, names: set[str], progress: ProgressCallback
) -> PulledCheckpoint | None:
    """The checkpoint if it is here with at least these files and every file has its sha256."""
    manifest = read_manifest(folder_of(checkpoint, revision)) if revision else None
    if manifest is None or not names <= manifest.files.keys():
        return None
    folder = folder_of(checkpoint, manifest.revision)
    if damaged_files(folder, manifest, progress):
        return None
    return PulledCheckpoint(checkpoint, manifest.revision, folder, manifest.size, was_here=True)


def publish(delivery: Delivery, fetch: Fetch, progress: ProgressCallback) -> PulledCheckpoint:
    """Fetch, verify, convert and keep the files of a delivery.

    Raises:
        PullRefusedError: a file is not the one that the catalog knows, or is no file of tensors; or
            the models folder can't be written.
        PullFailedError: a file has wrong bytes, the disk is full, or another pull of the same
            checkpoint is running.
    """
    _require_catalog_sums(delivery, {file.name: file.stated_sha256 for file in delivery.wanted})
    with _staging_folder(delivery) as staging:
        kept = _reuse_files(delivery, staging)
        missing = [file for file in delivery.wanted if file.name not in kept]
        _require_space(delivery.checkpoint, missing, staging)
        locations = fetch(missing, staging / "published")
        pairs = list(zip(missing, locations, strict=True))
        sums = [_verified_sha256(delivery, *pair, progress) for pair in pairs]
        for (file, location), sha256 in zip(pairs, sums, strict=True):
            kept[file.name] = _keep(delivery, file, location, staging, sha256)
        published = {name: (file.converted_from or file).sha256 for name, file in kept.items()}
        _require_catalog_sums(delivery, published)
        digest = digest_of(kept)
        manifest = Manifest(
            id=delivery.checkpoint,
            revision=delivery.revision or _identify(delivery.known, published, digest),
            source=delivery.source,
            files=dict(sorted(kept.items())),
            digest=digest,
        )
        folder = _install(staging / "files", manifest)
    return PulledCheckpoint(manifest.id, manifest.revision, folder, manifest.size)


def use_revision(pulled: PulledCheckpoint, known: CatalogEntry | None, is_explicit: bool) -> None:
    """Let references without a revision mean this one, unless the user named it explicitly."""
    pin = known.revision if known else None
    if not is_explicit or pin is None:
        with _os_errors_in_one_line():
            set_revision(pulled.id, None if pulled.revision == pin else pulled.revision)


@contextlib.contextmanager
def _staging_folder(delivery: Delivery) -> Iterator[Path]:
    """A locked hidden folder next to the checkpoint's own; it is removed on success."""
    owner, _, name = delivery.checkpoint.partition("/")
    key = delivery.revision or hashlib.sha256(delivery.source.encode()).hexdigest()[:12]
    staging = models_folder() / owner / f".{name}.{key}.partial"
    with _os_errors_in_one_line(), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(staging.with_name(f".{name}.lock"), wait=False))
        except BlockingIOError:
            raise PullFailedError(
                f"{delivery.checkpoint}: another pull of it is running; wait until it has ended"
            ) from None
        shutil.rmtree(staging / "files", ignore_errors=True)
        (staging / "files").mkdir(parents=True)
        yield staging
        shutil.rmtree(staging)


def _reuse_files(delivery: Delivery, staging: Path) -> dict[str, KeptFile]:
    """Link intact files of the revision that is here already, and its alternatives."""
    folder = folder_of(delivery.checkpoint, delivery.revision or "-")
    manifest = read_manifest(folder)
    weights = delivery.known.weights if delivery.known else ()
    usable: dict[str, str | None] = dict.fromkeys(file.path for file in weights)
    usable |= {file.name: file.stated_sha256 for file in delivery.wanted}
    reused = {}
    for name, kept in manifest.files.items() if manifest else ():
        published = (kept.converted_from or kept).sha256
        if usable.get(name, "") not in (None, published) or not (folder / name).is_file():
            continue
        if checksum_of(folder / name) == kept.sha256:
            (staging / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, staging / "files" / name)
            reused[name] = kept
    return reused


def _require_space(checkpoint: str, missing: Sequence[WantedFile], staging: Path) -> None:
    here = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    sizes = [(file.source.size or 0) * (2 if file.is_pickle else 1) for file in missing]
    needed = sum(sizes) - here + SPARE_BYTES
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise PullFailedError(
            f"{checkpoint} needs {needed / 1e9:.1f} GB and {models_folder()} has"
            f" {free / 1e9:.1f} GB free; free space, or set SYNTHSET_MODELS to another disk"
        )


def _verified_sha256(
    delivery: Delivery, file: WantedFile, location: Path, progress: ProgressCallback
) -> str:
    """The sha256 of a file that has the size and the checksum that its source states."""
    size, stated = location.stat().st_size, file.source.checksum
    progress(0, max(size, 1), f"verifying {file.source.path}")
    sha256 = checksum_of(location)
    fault = None
    if file.source.size is not None and size != file.source.size:
        fault = f"{size} bytes instead of {file.source.size}"
    elif stated is not None and len(stated) == 40:
        git_sum = checksum_of(location, git_blob=True)
        fault = None if git_sum == stated else f"git sha1 {git_sum[:12]} instead of {stated[:12]}"
    elif stated is not None and sha256 != stated:
        fault = f"sha256 {sha256[:12]} instead of {stated[:12]}"
    if fault is None:
        return sha256
    if file.source.location is None:
        location.unlink()
    raise PullFailedError(
        f"{delivery.checkpoint}: {file.source.path} from {delivery.source} has {fault}, and was"
        f" not kept; pull it again: {PULL} {delivery.checkpoint}, or use another source: --from"
    )


def _keep(
    delivery: Delivery, file: WantedFile, location: Path, staging: Path, sha256: str
) -> KeptFile:
    """Convert, move or copy a verified file into the staged folder."""
    target = staging / "files" / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.is_pickle:
        return _convert(delivery, file, location, target, sha256)
    if file.source.location is None:
        location.replace(target)
    else:
        shutil.copyfile(location, target)
    return KeptFile(size=target.stat().st_size, sha256=sha256, converted_from=file.converted_from)


def _convert(
    delivery: Delivery, file: WantedFile, location: Path, target: Path, sha256: str
) -> KeptFile:
    from models.checkpoints.convert import convert

    try:
        convert(location, target)
    except NotTensorsError as error:
        reason = str(error).partition(": ")[2]
        raise PullRefusedError(
            f"{delivery.checkpoint}: {file.source.path} {reason}; use another source: --from"
        ) from None
    origin = Origin(path=file.source.path, size=location.stat().st_size, sha256=sha256)
    return KeptFile(size=target.stat().st_size, sha256=checksum_of(target), converted_from=origin)


def _require_catalog_sums(delivery: Delivery, sums: Mapping[str, str | None]) -> None:
    """At the catalog's revision, weights must have the sha256 that the catalog states."""
    preferred = {file.name for file in delivery.wanted if file.is_preferred}
    if delivery.known is None or not delivery.is_catalog_revision:
        return
    for weights in delivery.known.weights:
        sha256 = sums.get(weights.path)
        if weights.path not in preferred or None in (sha256, weights.sha256):
            continue
        if sha256 != weights.sha256:
            raise PullRefusedError(
                f"{delivery.checkpoint}: {weights.path} from {delivery.source} has sha256"
                f" {str(sha256)[:12]}, the catalog {str(weights.sha256)[:12]}; use another source:"
                f" {PULL} {delivery.checkpoint} --from FOLDER"
            )


def _identify(known: CatalogEntry | None, sums: dict[str, str], digest: str) -> str:
    """The catalog's revision if all weights are known to be of it, else ``local-<digest>``."""
    if known is not None and known.revision is not None:
        weights = [one for one in known.weights if one.path in sums or not one.alternative]
        if all(one.sha256 and one.sha256 == sums.get(one.path) for one in weights):
            return known.revision
    return f"{LOCAL}{digest[:16]}"


def _install(files: Path, manifest: Manifest) -> Path:
    """Rename the staged folder to its final name; a folder of that name is replaced."""
    text = manifest.model_dump_json(indent=1, exclude_none=True)
    write_atomic(files / MANIFEST, text.encode() + b"\n")
    final = folder_of(manifest.id, manifest.revision)
    final.parent.mkdir(parents=True, exist_ok=True)
    replaced = files.with_name("replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.replace(replaced)
    files.replace(final)
    return final


@contextlib.contextmanager
def _os_errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder, reason = models_folder(), os.strerror(error.errno or 0)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PullFailedError(f"{folder}: {reason}; free space and run it again") from error
        raise PullRefusedError(
            f"models folder {folder} can't be written ({reason}); set SYNTHSET_MODELS to another"
        ) from error
