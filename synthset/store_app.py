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
    """Read everything and check its digest; exit 1 if anything is corrupt."""
    with plain_errors():
        from synthset.store import verify_store

        if not verify_store(url, remove_corrupt, as_json):
            raise typer.Exit(1)


@app.command("gc")
def gc(
    url: Url,
    delete: Annotated[bool, typer.Option(help="Delete; without it, only print.")] = False,
    as_json: Json = False,
) -> None:
    """Print what no run needs, and delete it on request."""
    with plain_errors():
        from synthset.store import collect_garbage

        collect_garbage(url, delete, as_json)
