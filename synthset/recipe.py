"""The commands recipe list and recipe schema."""

import typer

from synthset.options import Json
from synthset.output import Command, say

app = typer.Typer(help="Recipes: the shipped ones, and all their fields.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_names(as_json: Json = False) -> None:
    """Print the names of the shipped recipes."""
    from flows.config.recipe import list_recipes

    names = list_recipes()
    say({"recipes": names}, as_json, "\n".join(names))


@app.command(cls=Command)
def schema() -> None:
    """Print every field of a recipe with its default, bounds and meaning, as Markdown."""
    from flows.config.schema import describe_fields

    print(describe_fields(), end="")
