"""The command study."""

import os
from pathlib import Path
from typing import Annotated

import typer

from synthset.options import Changes, Json, MaxParallel, Photos, RecipeName, Store
from synthset.output import say
from synthset.start import prepare_flow


def study(
    recipe: RecipeName,
    photos: Photos,
    out: Annotated[Path, typer.Option(help="Folder for the study's page, table and figure.")],
    photos_per_class: Annotated[
        str, typer.Option(help="Real photos per class, separated by commas; all: every photo.")
    ] = "5,8,10,24,50,all",
    shares: Annotated[
        str, typer.Option(help="Generated images per real photo, separated by commas.")
    ] = "0,0.5,1,2,5,10,20",
    seeds: Annotated[
        int, typer.Option(min=1, help="Replicates: photos, images and training drawn again.")
    ] = 5,
    store: Store = None,
    changes: Changes = None,
    max_parallel: MaxParallel = None,
    as_json: Json = False,
) -> None:
    """Find out how many photos, and how many images per photo, are worth it."""
    from tasks.study.subsets import read_grid

    grid = read_grid(photos_per_class, shares, seeds)
    with prepare_flow(recipe, photos, out, store, changes, "study") as (loaded, paths):
        from flows.execution.run_items import Execution
        from flows.study import study as run_study

        execution = Execution(max_parallel=max_parallel or os.cpu_count() or 1)
        result = run_study(loaded, paths, grid, execution)
    say(result.model_dump(mode="json"), as_json, result.text())
