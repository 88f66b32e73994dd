"""What is known of each checkpoint that a recipe may name: catalog.yaml, as records.

Commit hashes, sums and sizes in it were read in public sources; where none was found it is None,
and the first pull settles it for the models folder (docs/checkpoints.md).
"""

import difflib
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from models.data.records import Record

CATALOG = Path(__file__).with_name("catalog.yaml")
Commercial = Literal["yes", "no", "unstated"]


class WeightFile(Record):
    """One file of weights: where it is kept, and the published files it may be made from.

    ``path`` is a safetensors file below the checkpoint's folder. ``published`` are paths in the
    repository, the preferred one first; one that is no safetensors file is converted. ``url`` is
    set for a file that lies outside the hub's repositories. ``sha256`` and ``size`` are those of
    the preferred published file. An ``alternative`` is one of several of which a recipe needs one:
    the hub gives all of them, a folder may hold only some.
    """

    path: str
    published: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = None
    alternative: bool = False

    @model_validator(mode="after")
    def _is_kept_safely(self) -> "WeightFile":
        if not self.path.endswith(".safetensors"):
            raise ValueError(f"{self.path}: weights are kept as .safetensors")
        if self.url is not None and self.sha256 is None:
            raise ValueError(f"{self.path}: a file without a repository needs its sha256")
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """The paths that it may be published under, the preferred one first."""
        published = (self.url.rpartition("/")[2],) if self.url else self.published
        return tuple(dict.fromkeys([*published, self.path]))


class CatalogEntry(Record):
    """A checkpoint: what it is for, its terms, its size, and which of its files are needed.

    ``revision`` is the commit that everyone uses (``sha256-…`` for a released file), or None.
    ``kind`` is the class that loads it. ``size`` is the download in bytes, ``vram`` the bytes of
    its weights in half precision. ``files`` are paths and patterns of the small files: a path must
    be there, a pattern may match nothing. ``replaces`` are withdrawn ids that it stands in for.
    """

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    title: str
    stage: str
    kind: str
    revision: str | None = Field(None, pattern=r"^([0-9a-f]{40}|sha256-[0-9a-f]{16})$")
    licence: str
    commercial: Commercial
    size: int = Field(gt=0)
    vram: int = Field(gt=0)
    files: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = Field(min_length=1)
    note: str = ""
    replaces: tuple[str, ...] = ()

    @property
    def is_commercial(self) -> bool | None:
        """Whether the weights' terms allow commercial use; None where they say nothing."""
        return {"yes": True, "no": False, "unstated": None}[self.commercial]

    @property
    def has_sums(self) -> bool:
        """Whether the sha256 of all weights is known, so that no source has to be trusted."""
        return all(one.sha256 is not None for one in self.weights)


@cache
def entries() -> tuple[CatalogEntry, ...]:
    """All checkpoints of the catalog, in the order of the stages that use them."""
    with CATALOG.open(encoding="utf-8") as file:
        rows = yaml.safe_load(file)
    return tuple(CatalogEntry.model_validate(row) for row in rows)


def entry(checkpoint: str) -> CatalogEntry | None:
    """The catalog's entry for an id without revision, or None."""
    return next((one for one in entries() if one.id == checkpoint), None)


def few_step_unet(steps: int) -> str:
    """The file of a few-step checkpoint that holds its U-Net for a count of steps."""
    return f"sdxl_lightning_{steps}step_unet.safetensors"


def successor(checkpoint: str) -> str | None:
    """The checkpoint that stands in for a withdrawn one, or None."""
    return next((one.id for one in entries() if checkpoint in one.replaces), None)


def near(checkpoint: str, others: tuple[str, ...] = ()) -> list[str]:
    """Up to three ids that an unknown one may have been meant to be."""
    known = [*(one.id for one in entries()), *others]
    whole = {one.lower(): one for one in known}
    names = {one.rpartition("/")[2]: whole[one] for one in whole}
    wanted = checkpoint.lower()
    found = [whole[one] for one in difflib.get_close_matches(wanted, whole, 3, 0.6)]
    alike = difflib.get_close_matches(wanted.rpartition("/")[2], names, 3, 0.7)
    return list(dict.fromkeys([*found, *(names[one] for one in alike)]))[:3]
