"""The checkpoints that a recipe may name: catalog.yaml, as records.

Commits, sha256 and sizes in it were read in public sources. Where none was found the field is None
(docs/checkpoints.md).
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
    """One file of weights: the name it is kept under, and the published files it is made from.

    ``path`` is a safetensors file below the checkpoint's folder. ``published`` are paths in the
    repository, the preferred one first; a file of another format is converted. ``url`` is set for a
    file outside the hub's repositories. ``sha256`` and ``size`` are those of the preferred file.
    Of files that are ``alternative`` a recipe needs one: a pull from the hub takes all of them, an
    import may have only some.
    """

    path: str
    published: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = None
    alternative: bool = False

    @model_validator(mode="after")
    def _is_safetensors_with_checksum(self) -> "WeightFile":
        if not self.path.endswith(".safetensors"):
            raise ValueError(f"{self.path}: weights are kept as .safetensors; correct the catalog")
        if self.url is not None and self.sha256 is None:
            raise ValueError(f"{self.path}: a file with a URL needs its sha256")
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """The paths that the file may be published under, the preferred one first."""
        published = (self.url.rpartition("/")[2],) if self.url else self.published
        return tuple(dict.fromkeys([*published, self.path]))


class CatalogEntry(Record):
    """A checkpoint: its stage, its terms, its size, and the files that are needed.

    ``revision`` is the pinned commit (``sha256-...`` for a released file), or None. ``kind`` is the
    class that loads it. ``size`` is the download in bytes, ``vram`` that of its weights in half
    precision. ``files`` are paths and patterns of small files: a path must exist, a pattern may
    match nothing. ``replaces`` are withdrawn ids that this checkpoint replaces. Weights with a
    ``package`` are in that Python package, never pulled; ``published`` is a path inside it.
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
    package: str | None = None
    files: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = Field(min_length=1)
    note: str = ""
    replaces: tuple[str, ...] = ()

    @property
    def is_commercial(self) -> bool | None:
        """Whether the weights' terms allow commercial use; None if they don't say."""
        return {"yes": True, "no": False, "unstated": None}[self.commercial]

    @property
    def has_checksums(self) -> bool:
        """Whether the catalog has the sha256 of all weights."""
        return all(weights.sha256 is not None for weights in self.weights)


@cache
def entries() -> tuple[CatalogEntry, ...]:
    """All checkpoints of the catalog, in the order of the stages that use them."""
    with CATALOG.open(encoding="utf-8") as file:
        rows = yaml.safe_load(file)
    return tuple(CatalogEntry.model_validate(row) for row in rows)


def entry(checkpoint: str) -> CatalogEntry | None:
    """The catalog's entry for an id without revision, or None."""
    return next((known for known in entries() if known.id == checkpoint), None)


def few_step_unet(steps: int) -> str:
    """The file name of the U-Net for a number of steps in a few-step checkpoint."""
    return f"sdxl_lightning_{steps}step_unet.safetensors"


def successor(checkpoint: str) -> str | None:
    """The id of the checkpoint that replaces a withdrawn one, or None."""
    return next((known.id for known in entries() if checkpoint in known.replaces), None)


def similar_ids(checkpoint: str, others: tuple[str, ...] = ()) -> list[str]:
    """Up to three ids that resemble an unknown one, from the catalog and from ``others``."""
    by_id = {known.lower(): known for known in (*(row.id for row in entries()), *others)}
    by_name = {lower.rpartition("/")[2]: known for lower, known in by_id.items()}
    wanted = checkpoint.lower()
    ids = difflib.get_close_matches(wanted, by_id, 3, 0.6)
    names = difflib.get_close_matches(wanted.rpartition("/")[2], by_name, 3, 0.7)
    similar = [*(by_id[lower] for lower in ids), *(by_name[lower] for lower in names)]
    return list(dict.fromkeys(similar))[:3]
