"""The commands models list, pull and check."""

from typing import Annotated

import typer

from synthset.options import Changes, Json
from synthset.output import Command

app = typer.Typer(help="Published checkpoints: list, fetch, check.", no_args_is_help=True)

Checkpoints = Annotated[
    list[str] | None, typer.Argument(help="owner/name, or owner/name@revision.")
]


@app.command("list", cls=Command)
def list_all(as_json: Json = False) -> None:
    """Print every checkpoint of the catalog: terms, size, revision, and whether it is here."""
    from synthset.models import list_checkpoints

    list_checkpoints(as_json)


@app.command("pull", cls=Command)
def pull(
    checkpoints: Checkpoints = None,
    recipe: Annotated[str | None, typer.Option(help="All checkpoints that it uses.")] = None,
    origin: Annotated[
        str | None, typer.Option("--from", help="A folder or file, or the URL of a mirror.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Another revision than the pinned.")] = None,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Fetch checkpoints, whole or not at all."""
    from flows.config.checkpoints import checkpoints_in
    from flows.config.recipe import load_recipe
    from synthset.models import pull_checkpoints

    used = checkpoints_in(load_recipe(recipe, changes)) if recipe else []
    pull_checkpoints([*(checkpoints or []), *used], origin, revision, as_json)


@app.command("check", cls=Command)
def check(checkpoints: Checkpoints = None, as_json: Json = False) -> None:
    """Read every file of the checkpoints that are here; exit 1 if any is corrupt or missing."""
    from synthset.models import check_checkpoints

    if not check_checkpoints(checkpoints or [], as_json):
        raise typer.Exit(1)
