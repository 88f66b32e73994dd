"""The commands demo, run, plan, place, export, verdict and doctor."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from synthset.options import (
    Changes,
    Json,
    Limit,
    MaxParallel,
    OldAtOnce,
    Out,
    Photos,
    Profile,
    RecipeName,
    Store,
)
from synthset.output import say
from synthset.start import prepare_flow


def demo(
    out: Out = Path("demo-run"),
    store: Store = None,
    as_json: Json = False,
    changes: Changes = None,
    max_parallel: MaxParallel = None,
    _at_once: OldAtOnce = None,
) -> None:
    """Run the whole job on bundled scenes; minutes on two cores."""
    from flows.demo import copy_demo_photos

    copy_demo_photos(out / "photos")
    _run_pipeline("demo", out / "photos", out, store, changes, None, max_parallel, as_json)


def run(
    recipe: RecipeName,
    photos: Photos,
    out: Out,
    store: Store = None,
    profile: Profile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what the run would do.")
    ] = False,
    limit: Limit = None,
    changes: Changes = None,
    max_parallel: MaxParallel = None,
    as_json: Json = False,
    _at_once: OldAtOnce = None,
) -> None:
    """Run the whole job on your photos. Run it again to continue where it stopped."""
    if dry_run:
        plan(recipe, photos, profile, changes, limit, as_json)
        return
    changes = [*(changes or []), *([f"profile={profile}"] if profile else [])]
    _run_pipeline(recipe, photos, out, store, changes, limit, max_parallel, as_json)


def plan(
    recipe: RecipeName,
    photos: Photos,
    profile: Profile = None,
    changes: Changes = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Print stages, counts, disk and time of a run; computes nothing."""
    changes = [*(changes or []), *([f"profile={profile}"] if profile else [])]
    from flows.config.recipe import load_recipe
    from flows.planning import make_plan, show_plan

    planned = make_plan(load_recipe(recipe, changes), photos, limit)
    if as_json:
        print(planned.model_dump_json(indent=1))
    else:
        show_plan(planned)


def place(
    recipe: RecipeName,
    photos: Photos,
    out: Out,
    store: Store = None,
    scenes: Annotated[int, typer.Option(min=1, help="Photos to show, of each class.")] = 12,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Draw where new objects would go in your photos, to OUT/placements; paints nothing."""
    from flows.config.recipe import load_recipe
    from flows.show_placements import show_placements

    photos, out = photos.resolve(), out.resolve()
    loaded = load_recipe(recipe, changes)
    shown = show_placements(loaded, photos, out, store or str(out / "store"), scenes)
    say(shown.model_dump(mode="json"), as_json, shown.text())


def export(
    out: Annotated[Path, typer.Argument(help="The --out folder of a run.")],
    dataset: Annotated[str, typer.Option(help="Name of a dataset, such as mixed.")],
    to: Annotated[Path, typer.Option(help="New folder to write.")],
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="imagefolder, coco, voc, voc-masks, yolo, yolo-polygons, huggingface, webdataset.",
        ),
    ] = "imagefolder",
    as_json: Json = False,
) -> None:
    """Write a dataset in a layout that other tools read."""
    from tasks.assemble.write_datasets import finish_exchange
    from tasks.export.formats import export_dataset

    finish_exchange(out)
    counts = export_dataset(out, dataset, to, file_format)
    say({"to": str(to), "images": counts}, as_json, f"{sum(counts.values())} images in {to}")


def verdict(
    out: Annotated[Path, typer.Argument(help="The --out folder of a run.")],
    as_json: Json = False,
) -> None:
    """Compute the verdict of a finished run again, from its predictions alone."""
    from models.evaluation.conclusion import conclude_from
    from models.evaluation.prediction_file.table import FILE_NAME

    conclusion = conclude_from(out / FILE_NAME)
    say(conclusion.model_dump(mode="json"), as_json, conclusion.text)


def doctor(store: Store = None, as_json: Json = False) -> None:
    """Check whether this machine is fit for the job, and say what to fix."""
    from synthset.doctor import examine, show_findings

    findings = examine(store)
    fit = all(finding.is_fit for finding in findings)
    if as_json:
        found = [finding.model_dump() for finding in findings]
        print(json.dumps({"fit": fit, "findings": found}, indent=1))
    else:
        show_findings(findings)
    if not fit:
        raise typer.Exit(1)


def _run_pipeline(
    recipe: str,
    photos: Path,
    out: Path,
    store: str | None,
    changes: list[str] | None,
    limit: int | None,
    max_parallel: int | None,
    as_json: bool,
) -> None:
    with prepare_flow(recipe, photos, out, store, changes, limit=limit) as (loaded, paths):
        from flows.execution.run_items import Execution
        from flows.pipeline import pipeline

        execution = Execution(limit=limit, max_parallel=max_parallel or os.cpu_count() or 1)
        result = pipeline(loaded, paths, execution)
    say(result.model_dump(mode="json"), as_json, result.text())
