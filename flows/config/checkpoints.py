"""The checkpoints that a recipe uses: revisions, presence on this machine, licences."""

from collections.abc import Iterator
from typing import Any

from flows.config.profiles import MODELS
from flows.config.recipe import Recipe
from models.checkpoints.catalog import few_step_unet
from models.checkpoints.errors import CheckpointMissingError
from models.checkpoints.local import is_commercial, licence_of, locate, pinned
from models.data.records import Record
from tasks.engine.jobs import checkpoints_of

UsedModel = dict[str, Any]


def pin_checkpoints(recipe: Recipe) -> Recipe:
    """The recipe with the revision of every checkpoint, as artifact keys and records contain it.

    Raises:
        CheckpointMissingError: a checkpoint is unknown, or no revision of it is known here.
    """
    generators = {
        name: settings.model_copy(
            update={
                field: _pin_section(section, checkpoints_of(section))
                for field, section in settings
                if isinstance(section, Record) and hasattr(section, "model")
            }
        )
        for name, settings in recipe.generators.items()
    }
    changes: dict[str, Any] = {"generators": generators}
    changes["select"] = recipe.select and _pin_section(
        recipe.select, checkpoints_of(recipe.select.features)
    )
    if recipe.train is not None and (used := checkpoints_of(recipe.train)):
        revision = pinned(used[0]).partition("@")[2]
        changes["train"] = recipe.train.model_copy(update={"revision": revision})
    return recipe.model_copy(update=changes)


def checkpoints_in(recipe: Recipe) -> list[str]:
    """Every checkpoint that a recipe uses, once, as the recipe names it."""
    references = (name for _, section in _sections(recipe) for name in checkpoints_of(section))
    return list(dict.fromkeys(references))


def require_checkpoints(recipe: Recipe, source: str) -> None:
    """Check that every checkpoint of a recipe is on this machine.

    Args:
        source: its name or file, for the command in the error line.

    Raises:
        CheckpointMissingError: names the first missing checkpoint and the command that fetches it.
    """
    absent = absent_checkpoints(recipe)
    if absent:
        needed = {name for name, section in _sections(recipe) if checkpoints_of(section)}
        classical = "; without weights: --profile classical"
        raise CheckpointMissingError(
            f"{absent}. For all of them: synthset models pull --recipe {source}"
            f"{classical if needed <= MODELS['classical'].keys() else ''}"
        )


def absent_checkpoints(recipe: Recipe) -> str | None:
    """A line about the first checkpoint that is missing or incomplete; None if all are here.

    It contains the command that fetches the checkpoint, and the number of other missing ones.
    """
    needed: dict[str, list[str]] = {}
    for _, section in _sections(recipe):
        for reference in checkpoints_of(section):
            needed.setdefault(reference, []).extend(_chosen_files(section, reference))
    errors = []
    for reference, files in needed.items():
        try:
            locate(reference, files)
        except CheckpointMissingError as error:
            errors.append(str(error))
    others = f", and {len(errors) - 1} others are missing" if len(errors) > 1 else ""
    return f"{errors[0]}{others}" if errors else None


def used_models(recipe: Recipe) -> list[UsedModel]:
    """A row per stage and checkpoint with the terms of the weights.

    ``commercial`` is None if the weights' owner states no terms.
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
            reason = "has no stated terms: ask its owner before commercial use"
        else:
            continue
        lines.append(f"{row['stage']}: {row['model']} {reason}; see docs/licences.md")
    return lines


def _sections(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The sections that have a model or weights: of generators, selection and training."""
    for settings in recipe.generators.values():
        for name, section in settings:
            if isinstance(section, Record) and hasattr(section, "model"):
                yield name, section
    if recipe.select is not None:
        yield "select", recipe.select.features
    if recipe.train is not None and checkpoints_of(recipe.train):
        yield "train", recipe.train


def _chosen_files(section: Record, reference: str) -> list[str]:
    """The alternative files of a checkpoint that a section needs."""
    few_step = getattr(section, "few_step", None)
    if few_step is None or few_step.checkpoint != reference:
        return []
    return [few_step_unet(few_step.steps)]


def _pin_section(section: Record, used: tuple[str, ...]) -> Record:
    changes: dict[str, Any] = {}
    for field, value in section:
        if isinstance(value, Record):
            changes[field] = _pin_section(value, used)
        elif isinstance(value, str) and field != "model" and value in used:
            changes[field] = pinned(value)
    return section.model_copy(update=changes)
