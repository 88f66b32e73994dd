"""Checkpoints from the command line: what there is, fetch it, check what is here."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.execution.progress import progress_bar
from models.checkpoints.catalog import CatalogEntry, entries, entry
from models.checkpoints.local import (
    LOCAL,
    Manifest,
    command_for,
    first_absent,
    folder_of,
    manifests,
    models_folder,
    revisions,
    split,
)
from models.checkpoints.pull_folder import FolderSource, FolderTree
from models.checkpoints.pull_hub import HubSource
from models.checkpoints.pull_record import recorded
from models.checkpoints.pull_source import PullRefused, Source
from models.checkpoints.pull_transfer import Told
from models.checkpoints.pulling import Pulled, pull
from models.checkpoints.verify import check

MB = 1_000_000
WIDE = 172
NO_PIN = "settled by the first pull"
CATALOG, FOLDER = "catalog", "models folder"


def list_checkpoints(as_json: bool) -> None:
    """Print every checkpoint of the catalog and of the models folder: terms, size, and if here."""
    rows = [*map(_row, entries()), *map(_stranger, _strangers())]
    if as_json:
        print(json.dumps({"folder": str(models_folder()), "checkpoints": rows}, indent=1))
        return
    table = Table(
        *("checkpoint", "stage", "licence", "commercial", "GB", "VRAM GB"),
        *("revision", "sums", "here"),
    )
    for row in rows:
        vram = f"{row['vram'] / 1e9:.1f}" if row["vram"] else "?"
        cells = (row["id"], row["stage"], row["licence"], row["commercial"])
        size = f"{row['size'] / 1e9:.2f}"
        sums = row["sums_by"] or "none yet"
        table.add_row(*cells, size, vram, _short(row), sums, "yes" if row["here"] else "no")
    # A name that is cut off can't be given to another command.
    Console(width=max(Console().width, WIDE)).print(table)
    print(f"models folder: {models_folder()} (SYNTHSET_MODELS)")


def pull_checkpoints(
    references: Sequence[str], origin: str | None, revision: str | None, as_json: bool
) -> None:
    """Bring checkpoints here and print a line for each.

    Args:
        references: ids, or ids with a revision.
        origin: a folder, an s3:// address or a mirror's URL; None: the hub, or $HF_ENDPOINT.
        revision: the revision of the one reference that is given.

    Raises:
        PullRefused: nothing is named; or the source does not have it or does not give it.
        PullFailed: the source went away, gave wrong bytes, or the disk is full.
        CheckpointMissing: an id is unknown.
    """
    references = list(dict.fromkeys(references))
    if not references:
        raise PullRefused("name a checkpoint, or give --recipe; synthset models list names them")
    if revision is not None:
        if len(references) > 1 or split(references[0])[1] is not None:
            raise PullRefused("--revision goes with one checkpoint without a revision of its own")
        references = [f"{references[0]}@{revision}"]
    for reference in references:
        split(reference)
    source = _source(origin)
    done = []
    for reference in references:
        with progress_bar(f"{reference}, MB") as move:
            pulled = pull(reference, source, _in_megabytes(move))
        done.append(pulled)
        if not as_json:
            _tell(pulled)
    if as_json:
        print(json.dumps({"pulled": [_as_row(one) for one in done]}, indent=1))


def check_checkpoints(references: Sequence[str], as_json: bool) -> bool:
    """Hash the files of checkpoints (of all that are here, if none is named), print what is wrong;
    whether nothing is.
    """
    with progress_bar("checking, MB") as move:
        checked = check(references, _in_megabytes(move))
    good = not any(one.damage for one in checked)
    if as_json:
        print(json.dumps({"good": good, "checkpoints": [asdict(one) for one in checked]}, indent=1))
        return good
    for one in checked:
        state = "damaged" if one.damage else "good"
        print(f"{one.id}@{one.revision}: {state}, {one.size / MB:.1f} MB")
        for line in one.damage:
            print(f"  {line}")
        command = command_for(one.id, one.revision)
        for name in one.lacks:
            print(f"  without {name}; for a recipe that names it: {command}")
        if one.damage:
            print(f"  mend it: {command}")
    if not checked:
        print(f"no checkpoint in {models_folder()}")
    return good


def _source(origin: str | None) -> Source:
    if origin is None or origin.startswith(("http://", "https://")):
        return HubSource(origin)
    if origin.startswith("s3://"):
        from tasks.store.s3_tree import S3Tree

        return FolderSource(S3Tree(origin))
    folder = Path(origin).expanduser()
    if folder.resolve() == models_folder().resolve():
        raise PullRefused(f"--from {origin} is the models folder itself; give another place")
    return FolderSource(FolderTree(folder))


def _in_megabytes(move: Any) -> Told:
    def told(done: int, total: int, doing: str) -> None:
        move(done // MB, max(1, -(-total // MB)), doing)

    return told


def _tell(pulled: Pulled) -> None:
    known = entry(pulled.id)
    did = "here already, verified" if pulled.was_here else "pulled and verified"
    print(f"{pulled.reference}: {did}, {pulled.size / MB:.1f} MB in {pulled.folder}")
    if known is None:
        print("  not in the catalog: its terms are not known to synthset")
        return
    if pulled.revision.startswith(LOCAL):
        print("  other files than the catalog's: keys and records name this revision")
    print(f"  licence {known.licence}, commercial use: {known.commercial}. {known.note}".rstrip())


def _as_row(pulled: Pulled) -> dict[str, Any]:
    return {**asdict(pulled), "folder": str(pulled.folder)}


def _row(known: CatalogEntry) -> dict[str, Any]:
    revision = revisions().get(known.id) or known.revision
    terms = {"licence": known.licence, "commercial": known.commercial, "note": known.note}
    return {
        "id": known.id,
        "title": known.title,
        "stage": known.stage,
        **terms,
        "size": known.size,
        "vram": known.vram,
        "revision": revision,
        "pinned_by": _pinned_by(known, revision),
        "sums_by": _sums_by(known, revision),
        "here": revision is not None and first_absent(folder_of(known.id, revision)) is None,
    }


def _stranger(manifest: Manifest) -> dict[str, Any]:
    return {
        **{"id": manifest.id, "title": "", "stage": "", "licence": "none stated"},
        **{"commercial": "unstated", "note": "not in the catalog", "size": manifest.size},
        **{"vram": None, "revision": manifest.revision},
        **{"pinned_by": FOLDER, "sums_by": FOLDER},
        "here": first_absent(folder_of(manifest.id, manifest.revision)) is None,
    }


def _strangers() -> list[Manifest]:
    return [one for one in manifests() if entry(one.id) is None]


def _pinned_by(known: CatalogEntry, revision: str | None) -> str | None:
    if revision is None:
        return None
    return CATALOG if revision == known.revision else FOLDER


def _sums_by(known: CatalogEntry, revision: str | None) -> str | None:
    """Who says what the weights' sums must be; None: whoever they are first pulled from."""
    if known.has_sums and revision == known.revision:
        return CATALOG
    return FOLDER if revision is not None and recorded(known.id, revision) else None


def _short(row: dict[str, Any]) -> str:
    if row["revision"] is None:
        return NO_PIN
    revision = str(row["revision"])
    short = revision[:10] if len(revision) == 40 else revision
    return short if row["pinned_by"] == CATALOG else f"{short} (this folder)"
