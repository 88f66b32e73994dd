"""The section ``study`` of a recipe file: the question, the grid, the generators that take part."""

from typing import Any

from pydantic import Field, ValidationError

from flows.config.read_sections import with_repeated
from flows.config.sections import first_error
from flows.generators.catalog import find_generator
from models.evaluation.study_description import Description
from tasks.study.grid import Grid


class StudySection(Description):
    """What a study asks, what it compares, and what it is compared with."""

    grid: Grid = Field(Grid(), description="What the study compares.")


def split_study(fields: dict[str, Any]) -> tuple[dict[str, Any], StudySection | None]:
    """The fields of a recipe and its section ``study``, if it has one.

    Generators that no method of the profile uses are left out: the profile may have no models for
    them.

    Raises:
        ValueError: the section can't be used, or a method names a generator that the file lacks.
    """
    if "study" not in fields:
        return fields, None
    recipe = {name: content for name, content in fields.items() if name != "study"}
    try:
        section = StudySection.model_validate(fields["study"])
    except ValidationError as error:
        raise ValueError(f"study.{first_error(error, StudySection)}") from error
    generators = recipe.get("generators")
    if not section.grid.methods or not isinstance(generators, dict):
        return recipe, section
    for name, method in section.grid.methods.items():
        for generator in method.synthetic:
            if generator not in generators:
                raise ValueError(
                    f"study.grid.methods.{name}: there is no generator {generator} in this file; "
                    f"add it to generators, or use one of: {', '.join(generators)}"
                )
    profile = recipe.get("profile", "classical")
    used = {
        generator
        for method in section.grid.methods.values()
        for generator in method.synthetic
        if method.profile in (None, profile)
    }
    if not used:
        raise ValueError(
            f"study.grid.methods: none has generated images with the profile {profile}; "
            f"use --set profile={section.grid.profiles[0]}"
        )
    rare = section.grid.rare_class
    recipe["generators"] = {
        name: _of_class(name, found, rare)
        for name, found in with_repeated(generators).items()
        if name in used
    }
    return recipe, section


def _of_class(name: str, content: Any, label: str | None) -> Any:
    """The section of a generator for a rare class alone, unless it names the classes itself."""
    is_open = label is not None and (content is None or isinstance(content, dict))
    if not is_open or "classes" not in find_generator(name).settings.model_fields:
        return content
    return {"classes": [label], **(content or {})}
