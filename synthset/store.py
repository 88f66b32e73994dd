"""The commands `synthset store ls|get|verify|gc`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.table import Table

from flows.execution.progress import progress_bar
from tasks.engine.run_documents import pinned_artifacts
from tasks.store.old_layout import clear_old_layout
from tasks.store.store import open_backend, open_store


def list_stages(url: str, as_json: bool) -> None:
    """Print the number of artifacts and of bytes per stage."""
    sizes = open_store(url, create=False).ls()
    if as_json:
        print(json.dumps({"stages": [asdict(size) for size in sizes]}, indent=1))
        return
    table = Table("stage", "artifacts", "MB")
    for size in sizes:
        table.add_row(size.stage, str(size.artifacts), f"{size.size / 1e6:.1f}")
    Console().print(table)


def fetch_document(url: str, name: str, out: Path | None, as_json: bool) -> None:
    """Write a document of a store, such as a report, to a file.

    Without ``out`` the file has the document's name and lies in the working directory.

    Raises:
        ValueError: the store has no such document, or the file exists.
    """
    store = open_store(url, create=False)
    blob = store.get_document(name)
    if blob is None:
        known = ", ".join(store.documents("reports/")) or "none"
        raise ValueError(f"store {url} has no document {name}; its reports: {known}")
    out = out or Path(PurePosixPath(name).name)
    if out.exists():
        raise ValueError(f"{out} exists; name another file with --out")
    out.write_bytes(blob)
    print(json.dumps({"file": str(out)}) if as_json else out)


def verify_store(url: str, remove_corrupt: bool, as_json: bool) -> bool:
    """Check every digest and print the bad artifacts; return whether there are none."""
    store = open_store(url, create=False)
    total = sum(size.artifacts for size in store.ls())
    with progress_bar("checking") as move:
        report = store.verify(lambda done: move(done, total), remove_corrupt=remove_corrupt)
    if as_json:
        print(json.dumps({**asdict(report), "good": report.good}, indent=1))
        return report.good
    print(f"{report.artifacts} artifacts, {report.size / 1e6:.1f} MB")
    faults = {
        "corrupt": report.corrupt,
        "missing": report.missing,
        "unreadable": report.unreadable,
    }
    for fault, artifact_ids in faults.items():
        for artifact_id in artifact_ids:
            print(f"{fault}: {artifact_id}")
    if not report.good:
        counts = ", ".join(f"{len(ids)} {fault}" for fault, ids in faults.items() if ids)
        fix = "removed; the next run recomputes them" if report.removed else "use --remove-corrupt"
        print(f"{counts}: {fix}")
    return report.good


def collect_garbage(url: str, delete: bool, as_json: bool) -> None:
    """Print how many artifacts no run needs, and delete them if ``delete`` says so."""
    store = open_store(url, create=False)
    report = store.gc(pinned_artifacts(store), delete=delete)
    if as_json:
        print(json.dumps(asdict(report), indent=1))
        return
    action = "deleted" if report.deleted else "could be deleted"
    print(f"{report.kept} artifacts kept; {report.garbage} {action} ({report.size / 1e6:.1f} MB)")
    _say_how_to_delete(delete)


def clear_old_store(url: str, delete: bool, as_json: bool) -> None:
    """Print how many files an older synthset wrote, and delete them if ``delete`` says so."""
    report = clear_old_layout(open_backend(url), delete=delete)
    if as_json:
        print(json.dumps(report._asdict(), indent=1))
        return
    action = "deleted" if report.deleted else "could be deleted"
    print(f"{report.files} files of the old layout {action} ({report.size / 1e6:.1f} MB)")
    _say_how_to_delete(delete)


def _say_how_to_delete(delete: bool) -> None:
    if not delete:
        print("nothing was deleted; use --delete to do it", file=sys.stderr)
