"""What commands print: results on stdout, and one line per mistake on stderr."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from deployments.server.errors import ServerLostError

# Longer ones, such as an answer of a server, hide what is wrong. SYNTHSET_TRACEBACK shows all.
LONGEST_LINE = 290
_GAP = " ... "

err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(found: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a result: one JSON object, or a text for a person."""
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else text)


class Command(TyperCommand):
    """A command that prints one line per mistake, and the traceback if SYNTHSET_TRACEBACK is set.

    Exit codes: 2 for bad input, 1 for what could not be made, 130 for Ctrl-C.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            _require_home()
            return super().invoke(ctx)
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
            _print_error(_describe(error))
            for note in getattr(error, "__notes__", ()):
                err.print(note, soft_wrap=True)
            if isinstance(error, ServerLostError):
                # Prefect's threads would try for minutes to send their last events.
                sys.stdout.flush()
                os._exit(1)
            raise typer.Exit(_exit_code(error)) from None


def _print_error(line: str) -> None:
    err.print(f"synthset: {shorten(line)}", soft_wrap=True)


def shorten(line: str) -> str:
    """Return a line of at most `LONGEST_LINE` characters: its beginning and its end.

    The end of an error line says what to do.
    """
    if len(line) <= LONGEST_LINE:
        return line
    half = (LONGEST_LINE - len(_GAP)) // 2
    return f"{line[:half]}{_GAP}{line[-half:]}"


def _describe(error: Exception) -> str:
    """The line for an error. What the system reports has a file, and no word on what to do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; check the path, its rights and the disk"
    return " ".join(str(error).split()) or type(error).__name__


def _require_home() -> None:
    """Raise ValueError if this user has no home folder, where caches and settings are kept."""
    try:
        Path.home()
    except RuntimeError:
        raise ValueError(
            "this user has no home folder: set HOME to a folder that it may write"
        ) from None


def renamed_option(old: str, new: str) -> Any:
    """A hidden option under an old name, which is refused with the new one."""

    def refuse(value: Any) -> Any:
        return renamed_command(old, new)() if value else value

    return typer.Option(old, hidden=True, callback=refuse)


def renamed_command(old: str, new: str) -> Callable[[], None]:
    """A hidden command under an old name, which is refused with the new one."""

    def refuse() -> None:
        _print_error(f"{old} was renamed: use {new}")
        raise typer.Exit(2)

    return refuse


def _exit_code(error: Exception) -> int:
    from tasks.store.errors import StoreAccessError

    return 2 if isinstance(error, ValueError | StoreAccessError | FileNotFoundError) else 1
