"""The commands deploy, up, down and retry."""

from pathlib import Path
from typing import Annotated

import typer

from synthset.options import Changes, Json, MaxParallel, OldAtOnce, RecipeName, Store
from synthset.output import renamed_option, say

# A few per GPU, so that no worker waits for the parent's next poll.
MAX_CHILD_RUNS = 16

State = Annotated[Path | None, typer.Option(help="State folder [~/.local/state/synthset].")]
OldTraining = Annotated[str | None, renamed_option("--training", "--train-in-parent")]


def deploy(
    recipe: RecipeName = "multiview",
    photos: Annotated[Path | None, typer.Option(help="Absolute path on the workers.")] = None,
    out: Annotated[Path | None, typer.Option(help="Absolute path on the workers.")] = None,
    store: Store = None,
    cron: Annotated[str, typer.Option(help="The schedule, as five cron fields.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Time zone of the cron fields.")] = "UTC",
    changes: Changes = None,
    max_parallel: MaxParallel = None,
    infrastructure: Annotated[str, typer.Option(help="process, docker or kubernetes.")] = "process",
    gpu: Annotated[
        list[str] | None, typer.Option(help="HOST:NUMBER, a machine and its number of GPUs.")
    ] = None,
    train_in_parent: Annotated[
        bool, typer.Option("--train-in-parent", help="Train in the parent run, not on GPU workers.")
    ] = False,
    reset_pools: Annotated[
        bool, typer.Option(help="Reset the work pools to their templates.")
    ] = False,
    as_json: Json = False,
    _at_once: OldAtOnce = None,
    _training: OldTraining = None,
) -> None:
    """Create work pools, deployments and the schedule on the Prefect server."""
    from deployments.apply import ScheduledRun
    from deployments.apply import deploy as apply
    from deployments.work_pools import POOLS
    from flows.config.recipe import load_recipe

    if infrastructure not in POOLS["synthset-cpu"]:
        raise ValueError(f"--infrastructure {infrastructure}: use process, docker or kubernetes")
    scheduled = None
    if photos and out and store:
        scheduled = ScheduledRun(
            recipe=load_recipe(recipe, changes),
            photos=photos,
            out=out,
            store=store,
            cron=cron,
            timezone=timezone,
            max_parallel=max_parallel or MAX_CHILD_RUNS,
            train_in_parent=train_in_parent,
        )
    elif photos or out or store:
        raise ValueError("give --photos, --out and --store together, or none of them")
    done = apply(scheduled, infrastructure, gpu or (), reset_pools)
    say({"changed": done}, as_json, "\n".join(done) or "everything is up to date")


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
    """Start a Prefect server, an S3 server and two workers in the background."""
    from deployments.local.stack import default_state
    from deployments.local.stack import up as start

    found = start(state or default_state(), host, port, s3_port, auth)
    say(found.model_dump(mode="json"), as_json, found.describe())


def down(state: State = None, as_json: Json = False) -> None:
    """Stop what `up` started; stored data stays."""
    from deployments.local.stack import default_state
    from deployments.local.stack import down as stop

    ended = stop(state or default_state())
    say({"stopped": ended}, as_json, f"stopped: {', '.join(ended) or 'nothing was running'}")


def retry(
    run: Annotated[str, typer.Argument(help="Id or name of a flow run that did not complete.")],
    as_json: Json = False,
) -> None:
    """Schedule a flow run again under its own id; it keeps everything that is done."""
    from deployments.retry import retry_run

    again = retry_run(run)
    say({"retried": again}, as_json, f"scheduled again: {', '.join(again)}")
