"""What commands that run a flow do first: check recipe and paths, and find a Prefect server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synthset.output import err

if TYPE_CHECKING:
    from flows.config.recipe import Recipe
    from flows.pipeline import RunPaths


@contextmanager
def prepare_flow(
    recipe: str,
    photos: Path,
    out: Path,
    store: str | None,
    changes: list[str] | None,
    *labels: str,
    limit: int | None = None,
) -> "Iterator[tuple[Recipe, RunPaths]]":
    """The recipe and the paths of a run, where a flow can be called; see `start_flow`.

    Raises:
        RecipeError: there is no such recipe, or it can't be used.
    """
    from flows.config.recipe import load_recipe

    loaded = load_recipe(recipe, changes)
    with start_flow(loaded, recipe, photos, out, store, *labels, limit=limit) as started:
        yield started


@contextmanager
def start_flow(
    loaded: "Recipe",
    source: str,
    photos: Path,
    out: Path,
    store: str | None,
    *labels: str,
    limit: int | None = None,
) -> "Iterator[tuple[Recipe, RunPaths]]":
    """The recipe with its checkpoints and the paths of a run, where a flow can be called.

    Bad input is found before Prefect is imported, which takes seconds.

    Args:
        source: the name or the file of the recipe.
        labels: more tags of the flow run.

    Raises:
        ValueError: recipe, photos, folders or the configured Prefect server can't be used; one line
            says which and why.
        TemporaryServerError, ServerLostError: the Prefect server does not start, or ended.
    """
    from flows.config.checkpoints import pin_checkpoints, require_checkpoints
    from flows.config.validate import check_paths, check_recipe_size

    require_checkpoints(loaded, source)
    loaded = pin_checkpoints(loaded)
    photos, out = photos.resolve(), out.resolve()
    store = store or str(out / "store")
    check_paths(photos, out, store, loaded, limit)
    err.print("starting Prefect (a few seconds) ...")
    from prefect import tags

    from deployments.server.client import parameter_limit
    from deployments.server.embedded import server_for_flows
    from flows.pipeline import RunPaths

    check_recipe_size(loaded, parameter_limit())
    with server_for_flows(), tags(loaded.name, loaded.profile, *labels):
        yield loaded, RunPaths(photos=photos, out=out, store=store)
