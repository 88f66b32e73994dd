"""What commands print: results on stdout, and one line per mistake on stderr."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

err = Console(stderr=True, highlight=False)


def say(found: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a result: one JSON object, or a text for a person."""
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else text)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print one line per mistake; the traceback only where SYNTHSET_TRACEBACK is set.

    Exit codes: 2 for bad input, 1 for what could not be made, 130 for Ctrl-C.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has ended; nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        err.print("synthset: stopped; run the same command again to continue")
        raise typer.Exit(130) from None
    except Exception as error:
        if os.environ.get("SYNTHSET_TRACEBACK"):
            traceback.print_exc(file=sys.stderr)
        line = " ".join(str(error).split()) or type(error).__name__
        err.print(f"synthset: {line}", markup=False, soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from None


def renamed_option(old: str, new: str) -> Any:
    """A hidden option under an old name, which is refused with the new one."""

    def refuse(value: Any) -> Any:
        if value:
            err.print(f"synthset: {old} was renamed: use {new}", markup=False, soft_wrap=True)
            raise typer.Exit(2)
        return value

    return typer.Option(old, hidden=True, callback=refuse)


def renamed_command(old: str, new: str) -> Callable[[], None]:
    """A hidden command under an old name, which is refused with the new one."""

    def refuse() -> None:
        err.print(f"synthset: {old} was renamed: use {new}", markup=False, soft_wrap=True)
        raise typer.Exit(2)

    return refuse


def _exit_code(error: Exception) -> int:
    from tasks.store.errors import StoreAccessError

    return 2 if isinstance(error, ValueError | StoreAccessError | FileNotFoundError) else 1
