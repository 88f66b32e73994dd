"""How the images of a run were made, in figures: the arithmetic, the stages, the references."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.reporting.numbers import number, total_of

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Factor:
    """One factor of the images made of a photo, such as 7 views."""

    amount: int
    name: str
    note: str


@dataclass(frozen=True)
class StageRow:
    """What one stage did in this run; ``share`` is its CPU time over that of
    the stage that took most, 0..1."""

    stage: str
    computed: int
    cached: int
    rejected: int
    cpu_s: float | None
    share: float


@dataclass(frozen=True)
class Made:
    """The figures of the whole run. ``made`` counts images before they were screened."""

    factors: tuple[Factor, ...]
    per_photo: int | None
    photos: int | None
    planned: int | None
    accepted: int | None
    rejected: int | None
    failed: int

    @property
    def made(self) -> int | None:
        """Finished images, accepted or not."""
        if self.accepted is None:
            return None
        return self.accepted + (self.rejected or 0)


@dataclass(frozen=True)
class LicenceRow:
    """What a run made use of, and under which terms. ``commercial`` is None when not known."""

    used_for: str
    name: str
    revision: str
    licence: str
    commercial: bool | None


def made_of(metrics: Mapping[str, Any]) -> Made:
    """How many images were planned, made, accepted and rejected, and by which arithmetic."""
    plan = metrics.get("arithmetic") or {}
    references = metrics.get("references") or []
    counted = [one for one in references if one.get("status") != "failed"]
    known = bool(references)
    return Made(
        factors=_factors(plan),
        per_photo=_whole(plan.get("per_photo")),
        photos=_whole(plan.get("photos")),
        planned=_whole(plan.get("total")),
        accepted=sum(_whole(one.get("accepted")) or 0 for one in counted) if known else None,
        rejected=sum(_whole(one.get("rejected")) or 0 for one in counted) if known else None,
        failed=len(references) - len(counted),
    )


def stage_rows(metrics: Mapping[str, Any]) -> tuple[StageRow, ...]:
    """One row per stage, in the order of ``metrics.json``."""
    stages = metrics.get("stages") or {}
    spent = [number(one.get("cpu_s")) or 0.0 for one in stages.values()]
    most = max(spent, default=0.0) or 1.0
    return tuple(
        StageRow(
            stage,
            _whole(one.get("computed")) or 0,
            _whole(one.get("cached")) or 0,
            _whole(one.get("rejected")) or 0,
            number(one.get("cpu_s")),
            seconds / most,
        )
        for (stage, one), seconds in zip(stages.items(), spent, strict=True)
    )


def photo_rows(
    metrics: Mapping[str, Any], classes: tuple[str, ...]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Per class, its photos in train, val and test; the last row adds them up."""
    photos = metrics.get("photos") or {}
    if not photos:
        return ()
    splits = [photos.get(split) or {} for split in SPLITS]
    rows = [(one, tuple(_whole(split.get(one)) or 0 for split in splits)) for one in classes]
    return (*rows, ("all classes", tuple(total_of(split) for split in splits)))


def licence_rows(metrics: Mapping[str, Any]) -> tuple[LicenceRow, ...]:
    """The checkpoints and the background photos that were used, each with its licence.

    ``plates_licences`` may be a mapping (name: licence) or a list of mappings with ``name`` (or
    ``file``) and ``licence``.
    """
    rows = [
        LicenceRow(
            str(one.get("stage") or ""),
            str(one.get("model") or ""),
            str(one.get("revision") or ""),
            str(one.get("licence") or ""),
            one.get("commercial"),
        )
        for one in metrics.get("models") or []
    ]
    plates = metrics.get("plates_licences") or []
    if isinstance(plates, Mapping):
        plates = [{"name": name, "licence": licence} for name, licence in plates.items()]
    for one in plates:
        name = str(one.get("name") or one.get("file") or "")
        licence = str(one.get("licence") or "")
        rows.append(LicenceRow("background plate", name, "", licence, one.get("commercial")))
    return tuple(rows)


def _factors(plan: Mapping[str, Any]) -> tuple[Factor, ...]:
    k = _whole(plan.get("k"))
    named = (
        (plan.get("views"), "views", "the photo and its new views"),
        (plan.get("t"), "augmentations", "colour, light, blur, flip"),
        (plan.get("c"), "backgrounds", "scenes per cut-out"),
        (None if k is None else k * k, "placements", f"a grid of {k} by {k}"),
    )
    return tuple(
        Factor(amount, name if amount != 1 else name.removesuffix("s"), note)
        for value, name, note in named
        if (amount := _whole(value)) is not None
    )


def _whole(value: Any) -> int | None:
    amount = number(value)
    return None if amount is None else int(amount)
