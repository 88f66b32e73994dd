"""The commands store ls, get, verify and gc."""

from pathlib import Path
from typing import Annotated

import typer

from synthset.options import Json
from synthset.output import plain_errors, renamed_option

app = typer.Typer(help="Look into the artifact store, and maintain it.", no_args_is_help=True)

Url = Annotated[str, typer.Argument(help="Artifact store: a folder or s3://bucket/prefix.")]
OldForget = Annotated[bool, renamed_option("--forget", "--remove-corrupt")]


@app.command("ls")
def ls(url: Url, as_json: Json = False) -> None:
    """Print artifacts and bytes per stage."""
    with plain_errors():
        from synthset.store import list_stages

        list_stages(url, as_json)


@app.command("get")
def get(
    url: Url,
    name: Annotated[str, typer.Argument(help="Document, such as reports/multiview-….html.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: its name.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a document, such as the report of a run."""
    with plain_errors():
        from synthset.store import fetch_document

        fetch_document(url, name, out, as_json)


@app.command("verify")
def verify(
    url: Url,
    remove_corrupt: Annotated[
        bool,
        typer.Option("--remove-corrupt", help="Remove corrupt artifacts; a run remakes them."),
    ] = False,
    as_json: Json = False,
    _forget: OldForget = False,
) -> None:
    """Check the digest of every artifact; exit 1 if one is corrupt, missing or unreadable."""
    with plain_errors():
        from synthset.store import verify_store

        if not verify_store(url, remove_corrupt, as_json):
            raise typer.Exit(1)


@app.command("gc")
def gc(
    url: Url,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
    old_layout: Annotated[
        bool, typer.Option("--old-layout", help="Instead: all files of an older synthset.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the artifacts that no run needs; with --delete, delete them."""
    with plain_errors():
        from synthset.store import clear_old_store, collect_garbage

        (clear_old_store if old_layout else collect_garbage)(url, delete, as_json)
