"""The commands of `synthset store`: ls, get, verify and gc."""

import json
import sys
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from synthset.options import Json
from synthset.output import Command, renamed_option, say

if TYPE_CHECKING:
    from tasks.store.verification import StoreReport

app = typer.Typer(help="Look into the artifact store, and maintain it.", no_args_is_help=True)

Url = Annotated[str, typer.Argument(help="Artifact store: a folder or s3://bucket/prefix.")]
OldForget = Annotated[bool, renamed_option("--forget", "--remove-corrupt")]


@app.command("ls", cls=Command)
def list_stages(url: Url, as_json: Json = False) -> None:
    """Print artifacts and bytes per stage."""
    from tasks.store.maintenance import sizes
    from tasks.store.store import open_store

    stages = sizes(open_store(url, create=False))
    if as_json:
        print(json.dumps({"stages": [asdict(stage) for stage in stages]}, indent=1))
        return
    table = Table("stage", "artifacts", "MB")
    for stage in stages:
        table.add_row(stage.stage, str(stage.artifacts), f"{stage.size / 1e6:.1f}")
    Console().print(table)


@app.command("get", cls=Command)
def fetch_document(
    url: Url,
    name: Annotated[str, typer.Argument(help="Document, such as reports/multiview-….html.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: its name.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a document, such as the report of a run."""
    from tasks.store.store import open_store

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


@app.command("verify", cls=Command)
def verify_store(
    url: Url,
    remove_corrupt: Annotated[
        bool,
        typer.Option("--remove-corrupt", help="Remove what is faulty; a run remakes it."),
    ] = False,
    as_json: Json = False,
    _forget: OldForget = False,
) -> None:
    """Check every artifact and document; exit 1 if one is corrupt, missing or unreadable."""
    from flows.execution.progress import progress_bar
    from tasks.store.maintenance import sizes
    from tasks.store.store import open_store
    from tasks.store.verification import verify

    store = open_store(url, create=False)
    # The check itself names the folders that can't be listed.
    total = sum(stage.artifacts for stage in sizes(store, unlisted=[]))
    with progress_bar("checking") as move:
        report = verify(store, lambda done: move(done, total), remove_corrupt=remove_corrupt)
    say({**asdict(report), "good": report.good}, as_json, _describe(report))
    if not report.good:
        raise typer.Exit(1)


def _describe(report: "StoreReport") -> str:
    lines = [f"{report.artifacts} artifacts, {report.size / 1e6:.1f} MB"]
    for fault, names in report.faults.items():
        for name in names:
            reason = report.reasons.get(name)
            lines.append(f"{fault}: {name}{f' ({reason})' if reason else ''}")
    if report.good:
        return "\n".join(lines)
    counts = [f"{len(names)} {fault}" for fault, names in report.faults.items() if names]
    fix = "removed; the next run recomputes them" if report.removed else "use --remove-corrupt"
    if report.unlisted:
        fix += "; give this user the right to list the folders, and check the disk"
    if report.kept:
        fix += f"; {len(report.kept)} could not be removed: {report.reasons[report.kept[0]]}"
    return "\n".join([*lines, f"{', '.join(counts)}: {fix}"])


@app.command("gc", cls=Command)
def collect_unused(
    url: Url,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
    old_layout: Annotated[
        bool, typer.Option("--old-layout", help="Instead: all files of an older synthset.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the artifacts that no run needs; with --delete, delete them."""
    from tasks.engine.run_documents import pinned_artifacts
    from tasks.store.maintenance import collect_garbage
    from tasks.store.old_layout import clear_old_layout
    from tasks.store.store import open_backend, open_store

    action = "deleted" if delete else "could be deleted"
    if old_layout:
        cleared = clear_old_layout(open_backend(url), delete=delete)
        found = cleared._asdict()
        text = f"{cleared.files} files of the old layout {action} ({cleared.size / 1e6:.1f} MB)"
    else:
        store = open_store(url, create=False)
        report = collect_garbage(store, pinned_artifacts(store), delete=delete)
        found = asdict(report)
        size = f"{report.size / 1e6:.1f} MB"
        text = f"{report.kept} artifacts kept; {report.garbage} {action} ({size})"
    say(found, as_json, text)
    if not delete and not as_json:
        print("nothing was deleted; use --delete to do it", file=sys.stderr)
