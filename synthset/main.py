"""The command line. It reads options, calls one flow or task, prints, and sets the exit code.

Exit codes: 0 what was asked exists; 1 it could not be made; 2 bad input, named in one line; 130
Ctrl-C. Heavy imports stay inside the commands, so that help is instant.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

# No telemetry; a busy laptop may take long to start the embedded server; the terminal shows our own
# progress while the UI gets the full log.
PREFECT_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

# A few per GPU slot: enough that no worker waits for the parent's next look.
CHILDREN_AT_ONCE = 16

app = typer.Typer(
    help="A few real photos per class in, a labelled training set out, and whether it helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(help="Look after the artifact store.", no_args_is_help=True)
app.add_typer(store_app, name="store")
models_app = typer.Typer(help="List, pull and check published weights.", no_args_is_help=True)
app.add_typer(models_app, name="models")
err = Console(stderr=True, highlight=False)

Out = Annotated[Path, typer.Option(help="Folder for datasets, report and manifest.")]
Store = Annotated[
    str | None, typer.Option(help="Artifact store: a folder or s3://bucket/prefix [OUT/store].")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a field of the recipe: outpaint.k=3.")
]
State = Annotated[Path | None, typer.Option(help="State folder [~/.local/state/synthset].")]
Checkpoints = Annotated[
    list[str] | None, typer.Argument(help="owner/name, or owner/name@revision.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Expand at most N reference photos.")]
AtOnce = Annotated[
    int | None, typer.Option("--at-once", min=1, help="References expanded at a time [CPU cores].")
]
RecipeName = Annotated[str, typer.Argument(help="A YAML file, or a shipped name: demo, multiview.")]
Photos = Annotated[Path, typer.Option(help="Photos by class, or train/, val/ and test/ of these.")]


@app.command()
def demo(
    out: Out = Path("demo-run"),
    store: Store = None,
    as_json: Json = False,
    changes: Changes = None,
    at_once: AtOnce = None,
) -> None:
    """The whole job on scenes that synthset renders itself; minutes on two cores."""
    with _plain_errors():
        from flows.demo import render_demo_photos

        render_demo_photos(out / "photos")
        _regenerate("demo", out / "photos", out, store, changes, None, at_once, as_json)


@app.command()
def run(
    recipe: RecipeName,
    photos: Photos,
    out: Out,
    store: Store = None,
    profile: Annotated[str | None, typer.Option(help="classical or diffusion.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    limit: Limit = None,
    changes: Changes = None,
    at_once: AtOnce = None,
    as_json: Json = False,
) -> None:
    """The whole job on your photos. Run it again to go on where it stopped."""
    changes = [*(changes or []), *([f"profile={profile}"] if profile else [])]
    if dry_run:
        plan(recipe, photos, changes, limit, as_json)
        return
    with _plain_errors():
        _regenerate(recipe, photos, out, store, changes, limit, at_once, as_json)


@app.command()
def plan(
    recipe: RecipeName,
    photos: Photos,
    changes: Changes = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Stages, counts, disk and time of a run; computes nothing."""
    with _plain_errors():
        from flows.config.recipe import load_recipe
        from flows.planning import make_plan, show_plan

        planned = make_plan(load_recipe(recipe, changes), photos, limit)
        if as_json:
            print(planned.model_dump_json(indent=1))
        else:
            show_plan(planned)


@app.command()
def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset of a run: OUT/datasets/synthetic.")],
    out: Annotated[Path, typer.Option(help="New folder to write.")],
    form: Annotated[str, typer.Option("--format", help="imagefolder.")] = "imagefolder",
    as_json: Json = False,
) -> None:
    """A dataset in a layout that other tools read."""
    with _plain_errors():
        from tasks.export.imagefolder import export_dataset

        counts = export_dataset(dataset, out, form)
        _say(
            {"out": str(out), "images": counts}, as_json, f"{sum(counts.values())} images in {out}"
        )


@app.command()
def doctor(store: Store = None, as_json: Json = False) -> None:
    """Whether this machine is fit for the job, and what to mend."""
    with _plain_errors():
        from synthset.doctor import examine, show_findings

        findings = examine(store)
        fit = all(finding.fit for finding in findings)
        if as_json:
            found = [finding.model_dump() for finding in findings]
            print(json.dumps({"fit": fit, "findings": found}, indent=1))
        else:
            show_findings(findings)
        if not fit:
            raise typer.Exit(1)


@app.command()
def fields() -> None:
    """Every field of a recipe with its default, bounds and meaning, as Markdown."""
    with _plain_errors():
        from flows.config.schema import describe_fields

        print(describe_fields(), end="")


@app.command()
def deploy(
    recipe: RecipeName = "multiview",
    photos: Annotated[Path | None, typer.Option(help="As the workers see them.")] = None,
    out: Annotated[Path | None, typer.Option(help="As the workers see it.")] = None,
    store: Store = None,
    cron: Annotated[str, typer.Option(help="When, as five cron fields.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of the cron fields.")] = "UTC",
    changes: Changes = None,
    at_once: AtOnce = None,
    infrastructure: Annotated[str, typer.Option(help="process, docker or kubernetes.")] = "process",
    gpu: Annotated[list[str] | None, typer.Option(help="HOST:NUMBER of its GPUs.")] = None,
    training: Annotated[
        str, typer.Option(help="Deployment that trains; none: the parent run itself.")
    ] = "train/gpu",
    reset_pools: Annotated[bool, typer.Option(help="Undo what was set in the work pools.")] = False,
    as_json: Json = False,
) -> None:
    """Work pools, deployments and the nightly schedule on the Prefect server."""
    with _plain_errors():
        from deployments.apply import Nightly
        from deployments.apply import deploy as apply
        from deployments.work_pools import POOLS
        from flows.config.recipe import load_recipe

        if infrastructure not in POOLS["synthset-cpu"]:
            raise ValueError(f"--infrastructure {infrastructure}: process, docker or kubernetes")
        night = None
        if photos and out and store:
            night = Nightly(
                recipe=load_recipe(recipe, changes),
                photos=photos,
                out=out,
                store=store,
                cron=cron,
                timezone=timezone,
                at_once=at_once or CHILDREN_AT_ONCE,
                training=None if training == "none" else training,
            )
        elif photos or out or store:
            raise ValueError("give --photos, --out and --store together, or none of them")
        done = apply(night, infrastructure, gpu or (), reset_pools)
        _say({"changed": done}, as_json, "\n".join(done) or "all is as it should be")


@app.command()
def up(
    state: State = None,
    host: Annotated[
        str | None, typer.Option(help="Address the servers listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the Prefect server.", show_default="4200")
    ] = None,
    s3_port: Annotated[
        int | None, typer.Option(help="Port of the S3 server.", show_default="9000")
    ] = None,
    auth: Annotated[bool, typer.Option(help="A password on localhost too.")] = False,
    as_json: Json = False,
) -> None:
    """Prefect server, S3 server and two workers in the background of this machine."""
    with _plain_errors():
        from deployments.local.stack import default_state
        from deployments.local.stack import up as start

        found = start(state or default_state(), host, port, s3_port, auth)
        _say(found.model_dump(mode="json"), as_json, found.told())


@app.command()
def down(state: State = None, as_json: Json = False) -> None:
    """Stop what `up` started; what is stored stays."""
    with _plain_errors():
        from deployments.local.stack import default_state
        from deployments.local.stack import down as stop

        ended = stop(state or default_state())
        _say({"stopped": ended}, as_json, f"stopped: {', '.join(ended) or 'nothing was running'}")


@app.command()
def retry(
    run: Annotated[str, typer.Argument(help="Id or name of a flow run that did not complete.")],
    as_json: Json = False,
) -> None:
    """Schedule a run again under its own id; what is done stays done."""
    with _plain_errors():
        from deployments.retry import retry_run

        again = retry_run(run)
        _say({"retried": again}, as_json, f"scheduled again: {', '.join(again)}")


@store_app.command("ls")
def store_ls(url: Annotated[str, typer.Argument(help="Store.")], as_json: Json = False) -> None:
    """Artifacts and bytes per stage."""
    with _plain_errors():
        from synthset.store import list_stages

        list_stages(url, as_json)


@store_app.command("get")
def store_get(
    url: Annotated[str, typer.Argument(help="Store.")],
    name: Annotated[str, typer.Argument(help="Document, such as reports/multiview-….html.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: its name.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a document, such as a run's report, from a store."""
    with _plain_errors():
        from synthset.store import fetch_document

        fetch_document(url, name, out, as_json)


@store_app.command("verify")
def store_verify(
    url: Annotated[str, typer.Argument(help="Store.")],
    forget: Annotated[
        bool, typer.Option(help="Forget damaged artifacts; a run remakes them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read everything and check its digest; exit 1 if anything is damaged."""
    with _plain_errors():
        from synthset.store import verify_store

        if not verify_store(url, forget, as_json):
            raise typer.Exit(1)


@store_app.command("gc")
def store_gc(
    url: Annotated[str, typer.Argument(help="Store.")],
    delete: Annotated[bool, typer.Option(help="Delete it; without this, only say what.")] = False,
    as_json: Json = False,
) -> None:
    """What no run's datasets refer to (and delete it, if told to)."""
    with _plain_errors():
        from synthset.store import collect_garbage

        collect_garbage(url, delete, as_json)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List all checkpoints: licence, size, revision, and whether they are on this machine."""
    with _plain_errors():
        from synthset.models import list_checkpoints

        list_checkpoints(as_json)


@models_app.command("pull")
def models_pull(
    checkpoints: Checkpoints = None,
    recipe: Annotated[str | None, typer.Option(help="Pull all checkpoints of a recipe.")] = None,
    origin: Annotated[
        str | None, typer.Option("--from", help="A folder, a published file, or a mirror's URL.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Another commit than the catalog's.")] = None,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Download checkpoints and verify them. A pull that was interrupted can be repeated."""
    with _plain_errors():
        from synthset.models import pull_checkpoints

        wanted = [*(checkpoints or []), *(_checkpoints_of(recipe, changes) if recipe else [])]
        pull_checkpoints(wanted, origin, revision, as_json)


@models_app.command("check")
def models_check(checkpoints: Checkpoints = None, as_json: Json = False) -> None:
    """Hash all files of the checkpoints on this machine; exit 1 if one is damaged or missing."""
    with _plain_errors():
        from synthset.models import check_checkpoints

        if not check_checkpoints(checkpoints or [], as_json):
            raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``synthset`` command."""
    from models.data.settings import restrict_libraries

    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    restrict_libraries()
    app()


def _regenerate(
    recipe: str,
    photos: Path,
    out: Path,
    store: str | None,
    changes: list[str] | None,
    limit: int | None,
    at_once: int | None,
    as_json: bool,
) -> None:
    from flows.config.checkpoints import pin_checkpoints, require_checkpoints
    from flows.config.recipe import load_recipe
    from flows.config.validate import check_places

    loaded = load_recipe(recipe, changes)
    require_checkpoints(loaded, recipe)
    loaded = pin_checkpoints(loaded)
    photos, out = photos.resolve(), out.resolve()
    store = store or str(out / "store")
    check_places(photos, out, store)
    err.print("starting Prefect (a few seconds) ...")
    from prefect import tags

    from deployments.server.embedded import start_server_if_none_is_set
    from flows.pipeline import Place, regenerate

    start_server_if_none_is_set()
    place = Place(
        photos=photos,
        out=out,
        store=store,
        limit=limit,
        at_once=at_once or os.cpu_count() or 1,
    )
    with tags(loaded.name, loaded.profile):
        summary = regenerate(loaded, place)
    _say(summary.model_dump(mode="json"), as_json, summary.told())


def _checkpoints_of(recipe: str, changes: list[str] | None) -> list[str]:
    from flows.config.checkpoints import checkpoints_in
    from flows.config.recipe import load_recipe

    return checkpoints_in(load_recipe(recipe, changes))


def _say(found: dict[str, Any], as_json: bool, told: str) -> None:
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else told)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One line per mistake on stderr; the traceback only where SYNTHSET_TRACEBACK is set."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to be flushed to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        err.print("synthset: stopped; run the same command again to go on")
        raise typer.Exit(130) from None
    except Exception as error:
        if _prints_tracebacks():
            traceback.print_exc(file=sys.stderr)
        line = " ".join(str(error).split()) or type(error).__name__
        err.print(f"synthset: {line}", markup=False, soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from None


def _prints_tracebacks() -> bool:
    from models.data.settings import SettingsError, settings

    try:
        return settings().traceback
    except SettingsError:
        return False


def _exit_code(error: Exception) -> int:
    from tasks.store.store import StoreRefused

    return 2 if isinstance(error, ValueError | StoreRefused | FileNotFoundError) else 1


if __name__ == "__main__":
    main()
