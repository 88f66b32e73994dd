"""What commands print: results on stdout, and one line per mistake on stderr."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand

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
            _print_error(" ".join(str(error).split()) or type(error).__name__)
            for note in getattr(error, "__notes__", ()):
                err.print(note, markup=False, soft_wrap=True)
            raise typer.Exit(_exit_code(error)) from None


def _print_error(line: str) -> None:
    err.print(f"synthset: {line}", soft_wrap=True)


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
