"""The checkpoints that a recipe stands on: their revisions, whether they are here, their terms."""

from collections.abc import Iterator
from typing import Any

from flows.config.recipe import Recipe
from models.checkpoints.catalog import few_step_unet
from models.checkpoints.local import CheckpointMissing, is_commercial, licence_of, locate, pinned
from models.data.records import Record
from tasks.engine.stage import checkpoints_of

UsedModel = dict[str, Any]


def pin_checkpoints(recipe: Recipe) -> Recipe:
    """The recipe with the revision of every checkpoint that it uses, as keys and records name it.

    Raises:
        CheckpointMissing: a checkpoint is unknown, or no revision of it is known here.
    """
    generators = {
        name: settings.model_copy(
            update={
                field: _pinned_section(section)
                for field, section in settings
                if isinstance(section, Record) and hasattr(section, "model")
            }
        )
        for name, settings in recipe.generators.items()
    }
    return recipe.model_copy(update={"generators": generators})


def checkpoints_in(recipe: Recipe) -> list[str]:
    """Every checkpoint that a recipe uses, once, as it names them."""
    return list(
        dict.fromkeys(one for _, section in _sections(recipe) for one in checkpoints_of(section))
    )


def require_checkpoints(recipe: Recipe, source: str) -> None:
    """Find every checkpoint on this machine, before anything is started.

    Args:
        recipe: what is to be run.
        source: what the recipe was loaded from, as commands name it.

    Raises:
        CheckpointMissing: some are not there; names the first, and says what to run.
    """
    absent = absent_checkpoints(recipe)
    if absent:
        raise CheckpointMissing(
            f"{absent}. For all of them: synthset models pull --recipe {source}; "
            "without weights: --profile classical"
        )


def absent_checkpoints(recipe: Recipe) -> str | None:
    """The first checkpoint that is not whole on this machine, the command that fetches it, and how
    many others are not; None if all are.
    """
    needed: dict[str, list[str]] = {}
    for _, section in _sections(recipe):
        for reference in checkpoints_of(section):
            needed.setdefault(reference, []).extend(_chosen_files(section, reference))
    faults = []
    for reference, files in needed.items():
        try:
            locate(reference, files)
        except CheckpointMissing as fault:
            faults.append(str(fault))
    others = f", as are {len(faults) - 1} others" if len(faults) > 1 else ""
    return f"{faults[0]}{others}" if faults else None


def used_models(recipe: Recipe) -> list[UsedModel]:
    """The models of the stages with the terms of their weights; a row per checkpoint.

    ``commercial`` is None where the weights' owner states nothing.
    """
    rows: list[UsedModel] = []
    for name, section in _sections(recipe):
        for reference in checkpoints_of(section):
            checkpoint, _, revision = reference.partition("@")
            terms = {"licence": licence_of(reference), "commercial": is_commercial(reference)}
            rows.append({"stage": name, "model": checkpoint, "revision": revision, **terms})
        if not checkpoints_of(section):
            terms = {"licence": "Apache-2.0", "commercial": True}
            rows.append({"stage": name, "model": section.model, "revision": None, **terms})
    return rows


def checkpoint_warnings(recipe: Recipe) -> list[str]:
    """A line per checkpoint whose terms restrict what the datasets may be used for."""
    lines = []
    for row in used_models(recipe):
        if row["commercial"] is False:
            reason = f"is under {row['licence']}: not for commercial use"
        elif row["commercial"] is None:
            reason = "comes without stated terms: ask its owner before commercial use"
        else:
            continue
        lines.append(f"{row['stage']}: {row['model']} {reason}; see docs/licences.md")
    return lines


def _sections(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The sections of all generators that have a model."""
    for settings in recipe.generators.values():
        for name, section in settings:
            if isinstance(section, Record) and hasattr(section, "model"):
                yield name, section


def _chosen_files(section: Record, reference: str) -> list[str]:
    """The files of a checkpoint that a section's settings choose among several."""
    steps: int | None = getattr(section, "few_step", None)
    if steps is None or getattr(section, "few_step_checkpoint", None) != reference:
        return []
    return [few_step_unet(steps)]


def _pinned_section(section: Record) -> Record:
    used = checkpoints_of(section)
    changes = {
        field: pinned(value)
        for field, value in section
        if isinstance(value, str) and field != "model" and value in used
    }
    return section.model_copy(update=changes)
