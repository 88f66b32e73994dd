"""How a run over a folder or recipe must end, and the sound photos that such runs share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.hostile.kinds import draw_picture

Rng = np.random.Generator
CLASSES = ("disc", "box")
PER_CLASS = 4
# What a run that ends after it has read photos leaves below --out.
LEAVES = ("report.html", "metrics.json", "manifest.parquet")


@dataclass(frozen=True)
class Ending:
    """How a run must end.

    ``code``: the exit code. ``says``: a regular expression that the one error line must match.
    ``classes``, ``notes``: the classes of a run with exit code 0, and a regular expression that
    one of its notes must match.
    ``leaves``: what a run with exit code 1 must leave below --out. ``options``: what the command
    gets besides recipe, photos and --out. ``recipe``: the path of another recipe.
    """

    code: int
    says: str = ""
    classes: tuple[str, ...] = ()
    notes: str = ""
    leaves: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    recipe: str = ""


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder or recipe.

    ``write`` writes the photos below a folder and returns how the run must end. Its last argument
    is the number of a case, below ``n_cases``.
    """

    write: Callable[[Path, Rng, int], Ending]
    n_cases: int = 1


def write_classes(root: Path, rng: Rng, *labels: str, count: int = PER_CLASS) -> None:
    """Sound photos of some classes."""
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            draw_picture(rng).save(root / label / f"photo{n}.png")


def bad(says: str, *options: str) -> Ending:
    """Bad input, found before anything is computed."""
    return Ending(2, says, options=options)
