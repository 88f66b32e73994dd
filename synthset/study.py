"""The command study."""

import os
from pathlib import Path
from typing import Annotated

import typer

from synthset.options import Changes, Json, MaxParallel, Store
from synthset.output import say
from synthset.start import start_flow


def study(
    name: Annotated[
        str | None,
        typer.Argument(help="A study that --list shows, a recipe, or a YAML file of either."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Photos in class folders, or a COCO, VOC or YOLO dataset.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the study's page, table and figure.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of background photos [the recipe's].")
    ] = None,
    photos_per_class: Annotated[
        str | None,
        typer.Option(
            help="Real photos per class, separated by commas: 5, 5% of them, or all [the study's]."
        ),
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(
            help="Generated images per real photo, separated by commas; 20 is 2000 % [the study's]."
        ),
    ] = None,
    images_per_class: Annotated[
        str | None,
        typer.Option(help="Generated images per class instead of shares [the study's]."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Replicates: photos, images and training drawn again [the study's]."
        ),
    ] = None,
    store: Store = None,
    changes: Changes = None,
    max_parallel: MaxParallel = None,
    as_json: Json = False,
    is_list: Annotated[
        bool, typer.Option("--list", help="Only print what each study asks and needs.")
    ] = False,
) -> None:
    """Find out how many photos, which images and how many of them are worth it."""
    if is_list:
        _list_studies(as_json)
        return
    if name is None or photos is None or out is None:
        raise ValueError(
            "study: give the name of a study, --photos and --out; --list shows the studies"
        )
    from flows.config.study import load_study

    changes = [*(changes or []), *([f"backgrounds={backgrounds.resolve()}"] if backgrounds else [])]
    recipe, section = load_study(name, changes)
    grid = section.grid.changed(photos_per_class, shares, images_per_class, seeds)
    with start_flow(recipe, name, photos, out, store, "study") as (loaded, paths):
        from flows.execution.run_items import Execution
        from flows.study import study as run_study
        from models.evaluation.study_description import Description

        execution = Execution(max_parallel=max_parallel or os.cpu_count() or 1)
        description = Description.model_validate(section.model_dump(exclude={"grid"}))
        result = run_study(loaded, paths, grid, execution, description)
    say(result.model_dump(mode="json"), as_json, result.text())


def _list_studies(as_json: bool) -> None:
    from dataclasses import asdict

    from flows.config.study import list_studies, summarize_study

    found = [summarize_study(name) for name in list_studies()]
    say(
        {"studies": [asdict(summary) for summary in found]},
        as_json,
        "\n".join(summary.text() for summary in found),
    )
