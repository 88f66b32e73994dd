"""Import checkpoints from files on this machine.

A source is, in this order: a models folder of this project (its manifests say everything); a cache
of huggingface_hub (``models--owner--name/snapshots/<commit>``); a clone or copy of the repository,
in ``<id>/`` or as the folder itself; a folder that holds just the published file; or that file.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from models.checkpoints.catalog import CatalogEntry, entry
from models.checkpoints.choose_files import SourceFile, WantedFile, choose_files, require_safe_names
from models.checkpoints.errors import PullRefusedError
from models.checkpoints.local import MANIFEST, models_folder, read_manifest, revisions, split
from models.checkpoints.publish import (
    Delivery,
    PulledCheckpoint,
    find_verified,
    publish,
    use_revision,
)
from models.checkpoints.verify import ProgressCallback

_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def import_checkpoint(reference: str, source: Path, progress: ProgressCallback) -> PulledCheckpoint:
    """Copy a checkpoint from a folder or file into the models folder and verify it.

    Files that state no revision get the catalog's if the sha256 of all weights is that of the
    catalog, else ``local-`` and a digest. The imported revision replaces the catalog's for
    references without a revision.

    Raises:
        PullRefusedError: the source does not hold the checkpoint, or other files under its name.
        PullFailedError: a file does not have the checksum that the source states; disk full.
    """
    checkpoint, explicit = split(reference)
    if not source.exists():
        raise PullRefusedError(f"--from {source}: no such folder or file; correct the path")
    if source.resolve() == models_folder().resolve():
        raise PullRefusedError(f"--from {source} is the models folder itself; give another folder")
    delivery = _find(checkpoint, explicit, source)
    names = {file.name for file in delivery.wanted}
    pulled = find_verified(checkpoint, delivery.revision, names, progress)
    pulled = pulled or publish(delivery, _locations, progress)
    use_revision(pulled, delivery.known, explicit is not None)
    return pulled


def _locations(missing: Sequence[WantedFile], _folder: Path) -> list[Path]:
    return [file.source.location for file in missing if file.source.location is not None]


def _find(checkpoint: str, revision: str | None, source: Path) -> Delivery:
    known = entry(checkpoint)
    if present := sorted(path.parent.name for path in source.glob(f"{checkpoint}/*/{MANIFEST}")):
        used = revisions(source).get(checkpoint)
        stated = _choose_revision(checkpoint, present, source, revision, used, known)
        wanted = _in_models_folder(checkpoint, stated, known, source)
        return Delivery(checkpoint, known, stated, str(source), wanted)
    published, files = _in_hub_cache(checkpoint, revision, known, source)
    if not files:
        files = _in_copy(checkpoint, known, source)
        commits = {file.commit for file in files.values()}
        published = commits.pop() if len(commits) == 1 else None
    if not files:
        names = [choice for file in known.weights for choice in file.choices] if known else []
        missing = f", and no {' or '.join(names[:3])}" if names else ""
        raise PullRefusedError(
            f"{source} holds no {checkpoint}: no folder of that name{missing}; name another --from"
        )
    if revision not in (None, published):
        raise PullRefusedError(
            f"{source}: nothing states that {checkpoint} is {revision} there; leave --revision out"
        )
    wanted = choose_files(checkpoint, known, files)
    if not all(file.is_preferred for file in wanted):
        published = None
    return Delivery(checkpoint, known, published, str(source), wanted)


def _in_models_folder(
    checkpoint: str, revision: str, known: CatalogEntry | None, source: Path
) -> list[WantedFile]:
    folder = source / checkpoint / revision
    manifest = read_manifest(folder)
    if manifest is None or (manifest.id, manifest.revision) != (checkpoint, revision):
        raise PullRefusedError(
            f"{folder / MANIFEST} is damaged or of another checkpoint; use another source"
        )
    wanted = []
    for name, file in manifest.files.items():
        kept = SourceFile(name, file.size, file.sha256, folder / name)
        wanted.append(WantedFile(name, kept, converted_from=file.converted_from))
    require_safe_names(checkpoint, wanted)
    for weights in known.weights if known else ():
        if not weights.alternative and weights.path not in manifest.files:
            raise PullRefusedError(f"{folder} has no {weights.path}; use another source")
    return wanted


def _in_hub_cache(
    checkpoint: str, revision: str | None, known: CatalogEntry | None, source: Path
) -> tuple[str | None, dict[str, SourceFile]]:
    name = "models--" + checkpoint.replace("/", "--")
    folders = [source / name, source / "hub" / name, *([source] if source.name == name else [])]
    cache = next((folder for folder in folders if (folder / "snapshots").is_dir()), None)
    if cache is None:
        return None, {}
    present = sorted(path.name for path in (cache / "snapshots").iterdir())
    main = cache / "refs" / "main"
    newest = main.read_text(encoding="utf-8").strip() if main.is_file() else None
    chosen = _choose_revision(checkpoint, present, source, revision, newest, known)
    snapshot = cache / "snapshots" / chosen
    return chosen, _list_folder(snapshot, known)


def _choose_revision(
    checkpoint: str,
    present: list[str],
    source: Path,
    revision: str | None,
    used: str | None,
    known: CatalogEntry | None,
) -> str:
    """The revision asked for; else the one the source uses, the catalog's, or the only one."""
    if revision is not None and revision not in present:
        held = ", ".join(present)
        raise PullRefusedError(
            f"{source} holds no {checkpoint} of revision {revision}, only {held}; name one of them"
        )
    for wish in (revision, known.revision if known else None, used):
        if wish is not None and wish in present:
            return wish
    if len(present) > 1:
        raise PullRefusedError(
            f"{source} holds several revisions of {checkpoint}; give --revision, one of"
            f" {', '.join(present)}"
        )
    return present[0]


def _in_copy(checkpoint: str, known: CatalogEntry | None, source: Path) -> dict[str, SourceFile]:
    """A copy of the repository, or its published file alone."""
    weights = [choice for file in known.weights for choice in file.choices] if known else []
    if source.is_file():
        # A browser may have renamed the download; the checksum says which file it is.
        is_only_file = known is not None and len(known.weights) == 1
        names = [name for name in weights if Path(name).suffix == source.suffix]
        name = names[0] if is_only_file and names else source.name
        return {name: SourceFile(name, source.stat().st_size, location=source)}
    if (source / checkpoint).is_dir():
        return _list_folder(source / checkpoint, known)
    is_copy = any((source / path).is_file() for path in weights)
    return _list_folder(source, known) if is_copy else {}


def _list_folder(folder: Path, known: CatalogEntry | None) -> dict[str, SourceFile]:
    """The files of a repository's folder; of a known checkpoint only those it may need."""
    if known is None:
        paths = [path for path in folder.rglob("*") if path.is_file()]
    else:
        choices = [folder / choice for file in known.weights for choice in file.choices]
        paths = [path for pattern in known.files for path in folder.glob(pattern)] + choices
    files = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("."):
            # In a cache of the hub each file is a link to a blob whose name is its checksum.
            commit, checksum = _read_note(folder, name)
            if path.is_symlink() and _CHECKSUM.fullmatch(path.readlink().name):
                checksum = path.readlink().name
            files[name] = SourceFile(name, path.stat().st_size, checksum, path, commit)
    return files


def _read_note(folder: Path, name: str) -> tuple[str | None, str | None]:
    """Commit and checksum of a file, as `hf download --local-dir` notes them."""
    path = folder / ".cache/huggingface/download" / f"{name}.metadata"
    commit, checksum, *_ = path.read_text("utf-8").split("\n") if path.is_file() else ("", "")
    return (commit, checksum) if _CHECKSUM.fullmatch(checksum) else (None, None)
