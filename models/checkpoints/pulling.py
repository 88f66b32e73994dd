"""Pull a checkpoint into the models folder, whole or not at all.

Files are fetched into a folder beside the final one, each verified before it gets its name, and the
folder is renamed when the last is there. What an interruption left is gone on with.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from models.checkpoints.catalog import CatalogEntry, entry
from models.checkpoints.local import (
    LOCAL,
    PULL,
    CheckpointMissing,
    KeptFile,
    Manifest,
    Origin,
    digest_of,
    folder_of,
    models_folder,
    read_manifest,
    revisions,
    settle,
    split,
    unknown,
    write_whole,
)
from models.checkpoints.pull_choice import Wanted, choose
from models.checkpoints.pull_record import SUMS, published, record, recorded
from models.checkpoints.pull_source import Listing, PullFailed, PullRefused, Source
from models.checkpoints.pull_staging import PROGRESS, install, locked, put_beside
from models.checkpoints.pull_transfer import Progress, Told, Transfer, sums_of
from models.checkpoints.verify import damage_of

SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class Pulled:
    """A checkpoint that is here now. ``was_here``: nothing had to be fetched."""

    id: str
    revision: str
    folder: Path
    size: int
    was_here: bool = False

    @property
    def reference(self) -> str:
        """``id@revision``."""
        return f"{self.id}@{self.revision}"


def pull(reference: str, source: Source, told: Told) -> Pulled:
    """Bring a checkpoint here from a source, verified.

    A checkpoint that is here already is only verified. Without a revision in the reference it is
    the catalog's; where the catalog has none, the one that this models folder settled on, and at
    first the newest. Its sums must be those of the catalog, and of an earlier pull of the same
    revision. A folder's files replace the catalog's revision if they differ from it.

    Args:
        told: called with the bytes done, the bytes of all files, and the file at work.

    Raises:
        CheckpointMissing: the id is unknown.
        PullRefused: the source does not have or give it, or the models folder can't be written.
        PullFailed: the source went away, gave wrong bytes, or the disk is full.
    """
    checkpoint, explicit = split(reference)
    known = entry(checkpoint)
    if known is None and not source.is_folder:
        raise CheckpointMissing(unknown(checkpoint))
    wanted_revision = explicit or (None if source.is_folder else _held(checkpoint, known))
    weights = {one.path for one in known.weights} if known and not source.is_folder else set()
    pulled = _here(checkpoint, wanted_revision, weights, told)
    if pulled is None:
        listing = source.listing(checkpoint, wanted_revision, known)
        wanted = choose(checkpoint, known, listing)
        if source.is_folder and not all(one.preferred for one in wanted):
            listing = Listing(None, listing.files, listing.manifest)
        pulled = _here(checkpoint, listing.revision, {one.path for one in wanted}, told)
    try:
        if pulled is None:
            pulled = _Pull(checkpoint, known, source, listing, wanted, told, explicit).run()
        _settle(pulled, known, explicit is not None)
    except OSError as error:
        raise _no_place(error) from error
    return pulled


@dataclass
class _Pull:
    """One pull at work."""

    checkpoint: str
    known: CatalogEntry | None
    source: Source
    listing: Listing
    wanted: list[Wanted]
    told: Told
    explicit: str | None = None
    noted: dict[str, str] = field(default_factory=dict)
    kept: dict[str, KeptFile] = field(default_factory=dict)

    def run(self) -> Pulled:
        if self.listing.revision is not None:
            self.noted = recorded(self.checkpoint, self.listing.revision)
        for one in self.wanted:
            self._expected(one)
        with locked(self._beside("lock")):
            staging = self._beside("partial")
            self._take_over(staging)
            self._check_room(staging)
            progress = Progress(sum(one.file.size or 0 for one in self.wanted), self.told)
            transfer = Transfer(self.checkpoint, self.source, self.listing, progress)
            files = {one.path: self._obtain(one, staging, transfer) for one in self.wanted}
            files |= self._other_alternatives(files, staging)
            digest = digest_of(files)
            manifest = Manifest(
                id=self.checkpoint,
                revision=self._revision(files, digest),
                source=self.source.name,
                files=dict(sorted(files.items())),
                digest=digest,
            )
            if not manifest.revision.startswith(LOCAL):
                record(self.checkpoint, manifest.revision, files)
            folder = install(staging, manifest)
        return Pulled(self.checkpoint, manifest.revision, folder, manifest.size)

    def _beside(self, ending: str) -> Path:
        owner, _, name = self.checkpoint.partition("/")
        key = self.listing.revision or f"from-{_sha256_of_text(self.source.name)[:12]}"
        return models_folder() / owner / f".{name}.{key}.{ending}"

    def _take_over(self, staging: Path) -> None:
        """Go on with what an earlier pull left, and with the good files of what is here, which
        stays in use until all are there.
        """
        staging.mkdir(parents=True, exist_ok=True)
        final = folder_of(self.checkpoint, self.listing.revision or "-")
        manifest = read_manifest(final)
        if manifest is not None:
            self.kept = dict(manifest.files)
            for name in manifest.files:
                put_beside(final / name, staging / name)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            rows = json.loads((staging / PROGRESS).read_text(encoding="utf-8"))
            self.kept |= {name: KeptFile.model_validate(row) for name, row in rows.items()}

    def _other_alternatives(self, files: dict[str, KeptFile], staging: Path) -> dict[str, KeptFile]:
        """Good files of what is here that are not wanted this time, and stay."""
        others = (
            {one.path for one in self.known.weights if one.alternative} if self.known else set()
        )
        return {
            name: kept
            for name, kept in self.kept.items()
            if name in others - files.keys()
            and (staging / name).is_file()
            and sums_of(staging / name)[0] == kept.sha256
        }

    def _check_room(self, staging: Path) -> None:
        here = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        sizes = [(one.file.size or 0) * (2 if one.converted else 1) for one in self.wanted]
        needed = sum(sizes) - here + SPARE_BYTES
        free = shutil.disk_usage(staging).free
        if needed > free:
            raise PullFailed(
                f"{self.checkpoint} needs {needed / 1e9:.1f} GB and {models_folder()} has"
                f" {free / 1e9:.1f} GB left; make room, or set SYNTHSET_MODELS to another disk"
            )

    def _obtain(self, wanted: Wanted, staging: Path, transfer: Transfer) -> KeptFile:
        target = staging / wanted.path
        kept = self.kept.get(wanted.path)
        if kept is not None and self._is_good(target, kept, wanted):
            transfer.progress.add(wanted.file.size or 0, wanted.path)
            return kept
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        transfer.fetch(wanted.file, part)
        sha256 = transfer.verify(wanted.file, part, self._expected(wanted))
        if wanted.converted:
            kept = self._convert(wanted, part, target, sha256)
        else:
            part.replace(target)
            manifest = self.listing.manifest
            kept = KeptFile(size=target.stat().st_size, sha256=sha256)
            kept = manifest.files[wanted.path] if manifest else kept
        self.kept[wanted.path] = kept
        write_whole(staging / PROGRESS, _as_json(self.kept))
        return kept

    def _is_good(self, target: Path, kept: KeptFile, wanted: Wanted) -> bool:
        """Whether a file that was pulled earlier is the one that is wanted, undamaged."""
        expected = self._expected(wanted)
        origin = kept.converted_from or kept
        if not target.is_file() or wanted.file.size not in (None, origin.size):
            return False
        if expected is not None and origin.sha256 != expected:
            return False
        return sums_of(target)[0] == kept.sha256

    def _expected(self, wanted: Wanted) -> str | None:
        """The sha256 that the file must have: the source's, the catalog's, and that of the first
        pull of the revision, which must be one.
        """
        stated = wanted.file.sha256
        manifest = self.listing.manifest
        of_it = published(manifest.files)[wanted.path] if manifest else stated
        known = wanted.known_sha256 if self._is_the_catalogs else None
        noted = self.noted.get(wanted.path)
        for whose, sha256, otherwise in (
            ("the catalog", known, ""),
            ("the first pull", noted, f"; if the first was wrong, remove its sums from {SUMS}"),
        ):
            if of_it is not None and sha256 is not None and of_it != sha256:
                raise PullRefused(
                    f"{self.source.name} has another {wanted.file.path} of {self.checkpoint} than"
                    f" {whose} (sha256 {of_it[:12]}… instead of {sha256[:12]}…); use another"
                    f" source: {PULL} {self.checkpoint} --from PLACE{otherwise}"
                )
        return stated or known or noted

    @property
    def _is_the_catalogs(self) -> bool:
        """Whether the weights must be those that the catalog knows: at its revision, and from a hub
        also where it has none and the reference names none. A folder may hold other weights.
        """
        pin = self.known.revision if self.known else None
        if pin is not None and self.listing.revision == pin:
            return True
        return not self.source.is_folder and self.explicit is None

    def _convert(self, wanted: Wanted, part: Path, target: Path, sha256: str) -> KeptFile:
        from models.checkpoints.convert import NotTensors, convert

        origin = Origin(path=wanted.file.path, size=part.stat().st_size, sha256=sha256)
        try:
            convert(part, target)
        except NotTensors as error:
            part.unlink()
            reason = str(error).partition(": ")[2]
            raise PullRefused(
                f"{self.checkpoint}: {wanted.file.path}: {reason}; use another source:"
                f" {PULL} {self.checkpoint} --from PLACE"
            ) from None
        part.unlink()
        return KeptFile(
            size=target.stat().st_size, sha256=sums_of(target)[0], converted_from=origin
        )

    def _revision(self, files: dict[str, KeptFile], digest: str) -> str:
        """What the source says it is; else the catalog's if all weights are known to be it."""
        if self.listing.revision is not None:
            return self.listing.revision
        if self.known is not None and self.known.revision is not None:
            sums = published(files)
            here = [one for one in self.known.weights if one.path in sums or not one.alternative]
            if all(one.sha256 and one.sha256 == sums.get(one.path) for one in here):
                return self.known.revision
        return f"{LOCAL}{digest[:16]}"


def _held(checkpoint: str, known: CatalogEntry | None) -> str | None:
    """The revision that a pull from the hub holds to; None: the newest, which it then settles."""
    if known is not None and known.revision is not None:
        return known.revision
    settled = revisions().get(checkpoint)
    return None if settled is None or settled.startswith(LOCAL) else settled


def _here(checkpoint: str, revision: str | None, files: set[str], told: Told) -> Pulled | None:
    """A checkpoint that is here with these files at least, whole and verified."""
    manifest = read_manifest(folder_of(checkpoint, revision)) if revision else None
    if manifest is None or not files <= manifest.files.keys():
        return None
    folder = folder_of(checkpoint, manifest.revision)
    if any(damage_of(folder, manifest, Progress(manifest.size, told))):
        return None
    return Pulled(checkpoint, manifest.revision, folder, manifest.size, was_here=True)


def _settle(pulled: Pulled, known: CatalogEntry | None, explicit: bool) -> None:
    pin = known.revision if known else None
    if not explicit:
        settle(pulled.id, None if pulled.revision == pin else pulled.revision)
    elif pin is None and pulled.id not in revisions():
        settle(pulled.id, pulled.revision)


def _no_place(error: OSError) -> Exception:
    folder, reason = models_folder(), os.strerror(error.errno or 0)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PullFailed(f"{folder}: {reason}; make room and run it again to go on")
    return PullRefused(
        f"models folder {folder} can't be written ({reason}); set SYNTHSET_MODELS to one that can"
    )


def _as_json(files: dict[str, KeptFile]) -> str:
    return json.dumps(
        {name: file.model_dump(mode="json") for name, file in files.items()}, indent=1
    )


def _sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
