"""Looking after a store from the command line."""

import json
import sys
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.table import Table

from flows.execution.progress import progress_bar
from tasks.engine.run_documents import pinned_artifacts
from tasks.store.store import open_store


def list_stages(url: str, as_json: bool) -> None:
    """Print artifacts and bytes per stage."""
    sizes = open_store(url, make=False).ls()
    if as_json:
        print(json.dumps({"stages": [asdict(size) for size in sizes]}, indent=1))
        return
    table = Table("stage", "artifacts", "MB")
    for size in sizes:
        table.add_row(size.stage, str(size.artifacts), f"{size.size / 1e6:.1f}")
    Console().print(table)


def fetch_document(url: str, name: str, out: Path | None, as_json: bool) -> None:
    """Write a document of a store, such as a report, to a file, by default named like it, here.

    Raises:
        ValueError: the store has none of that name, or the file is there already.
    """
    store = open_store(url, make=False)
    blob = store.get_document(name)
    if blob is None:
        known = ", ".join(store.documents("reports/")) or "none"
        raise ValueError(f"{url} has no document {name}; its reports: {known}")
    out = out or Path(PurePosixPath(name).name)
    if out.exists():
        raise ValueError(f"{out} exists; name another file with --out")
    out.write_bytes(blob)
    print(json.dumps({"file": str(out)}) if as_json else out)


def verify_store(url: str, forget: bool, as_json: bool) -> bool:
    """Check every digest and print what is damaged; whether nothing is."""
    store = open_store(url, make=False)
    total = sum(size.artifacts for size in store.ls())
    with progress_bar("checking") as move:
        report = store.verify(lambda done: move(done, total), forget=forget)
    if as_json:
        print(json.dumps({**asdict(report), "good": report.good}, indent=1))
        return report.good
    print(f"{report.artifacts} artifacts, {report.size / 1e6:.1f} MB")
    for what, names in (("damaged", report.corrupt), ("gone", report.missing)):
        for name in names:
            print(f"{what}: {name}")
    if not report.good:
        mend = "forgotten; the next run makes them anew" if report.forgotten else "say --forget"
        print(f"{len(report.corrupt) + len(report.missing)} bad artifacts: {mend}")
    return report.good


def collect_garbage(url: str, delete: bool, as_json: bool) -> None:
    """Print what no run keeps, and delete it if told to."""
    store = open_store(url, make=False)
    report = store.gc(pinned_artifacts(store), delete=delete)
    if as_json:
        print(json.dumps(asdict(report), indent=1))
        return
    done = "deleted" if report.deleted else "could be deleted"
    print(f"{report.kept} artifacts kept; {report.garbage} {done} ({report.size / 1e6:.1f} MB)")
    if not delete:
        print("nothing was deleted; say --delete to do it", file=sys.stderr)
