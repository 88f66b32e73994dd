"""The command line: reads options, calls one flow or task, prints, and sets the exit code.

Exit codes: 0 what was asked exists; 1 it could not be made; 2 bad input, named in one line; 130
Ctrl-C. Heavy imports stay inside the commands, so that help is fast.
"""

import io
import os
import sys
from collections.abc import Callable

import typer

from deployments.proxies import bypass_proxies
from synthset import deploy, models_app, recipe, run, store, study
from synthset.output import Command, renamed_command

# No telemetry. A busy laptop may take long to start the embedded server. The terminal shows our own
# progress, while the UI gets the full log. The server writes the states of task runs once a second,
# 50 at most: Prefect's own setting is a transaction for each, which takes twice the CPU time.
PREFECT_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    # Prefect's own limit is 0.5 MB: a recipe with a prompt for each of 4,000 classes is larger.
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "16777216",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

app = typer.Typer(
    help="A few real photos per class in, a labelled training set out, and whether it helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    run.demo,
    run.run,
    study.study,
    run.plan,
    run.place,
    run.export,
    run.verdict,
    run.doctor,
    deploy.deploy,
    deploy.up,
    deploy.down,
    deploy.retry,
)
for command in _COMMANDS:
    app.command(cls=Command)(command)
app.add_typer(recipe.app, name="recipe")
app.add_typer(store.app, name="store")
app.add_typer(models_app.app, name="models")
app.command("fields", hidden=True)(renamed_command("fields", "recipe schema"))


def main() -> None:
    """Entry point of the ``synthset`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a file that can't hold a name gets the escapes of its characters.
            stream.reconfigure(errors="backslashreplace")
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("PREFECT_HOME", "PREFECT_API_URL"):
        # Prefect would take an empty one for the present folder, and for an address.
        if not os.environ.get(name):
            os.environ.pop(name, None)
    bypass_proxies()
    app()


if __name__ == "__main__":
    main()
