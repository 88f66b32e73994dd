"""Sections of a recipe as settings: those of generators, and of the task that is trained."""

from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from flows.config.profiles import MODELS, require_models, with_models, without_other_models
from flows.config.sections import first_error
from flows.generators.catalog import find_generator
from models.data.records import Record
from models.data.specs import Profile
from models.training.detection.settings import DetectionParameters
from models.training.segmentation.settings import SegmentationParameters
from models.training.settings import TrainingParameters

_TASKS: dict[str, type[TrainingParameters]] = {
    "segmentation": SegmentationParameters,
    "detection": DetectionParameters,
}


def task_in(section: Any) -> Any:
    """The task that a section ``train`` names, if it names one."""
    if isinstance(section, TrainingParameters):
        return section.task
    return section.get("task") if isinstance(section, dict) else None


def read_train(content: Any) -> Any:
    """The settings of the task that a section ``train`` names.

    Raises:
        ValueError: a field is unknown or out of bounds; the line begins with its name.
    """
    if content is None or isinstance(content, TrainingParameters):
        return content
    settings = _TASKS.get(str(task_in(content)), TrainingParameters)
    try:
        return settings.model_validate(content)
    except ValidationError as error:
        dot = "." if error.errors()[0]["loc"] else ": "
        raise ValueError(f"train{dot}{first_error(error, settings)}") from error


def read_settings(name: str, section: Any, profile: Profile) -> Record:
    """The settings of a generator from its section of a recipe.

    Raises:
        ValueError: there is no such generator or field, or the profile has no model for it; the
            line begins with its name.
    """
    settings = find_generator(name).settings
    if isinstance(section, Record):
        section = section.model_dump(mode="json")
    content = {} if section is None else section
    if not isinstance(content, dict):
        raise ValueError(f"{name}: a generator's section must be a mapping of fields")
    require_models(content, settings, name, profile)
    try:
        return settings.model_validate(with_models(content, settings, profile))
    except ValidationError as error:
        raise ValueError(f"{name}.{first_error(error, settings)}") from error


def with_repeated(sections: dict[Any, Any]) -> dict[Any, Any]:
    """Sections of generators; ``copy_paste-near`` gets what ``copy_paste`` has and it lacks."""
    return {
        name: _completed(sections.get(str(name).partition("-")[0]), {} if own is None else own)
        for name, own in sections.items()
    }


def _completed(usual: Any, own: Any) -> Any:
    """The own fields and, of those that are not there, the usual ones; not of another model."""
    if not isinstance(usual, dict) or not isinstance(own, dict):
        return own
    if "model" in own and own["model"] != usual.get("model"):
        return own
    return {**usual, **{name: _completed(usual.get(name), value) for name, value in own.items()}}


def drop_replaced_models(content: dict[str, Any], profile: Any) -> dict[str, Any]:
    """A recipe's content for another profile: without the fields of models that this replaces."""
    sections = content.get("generators")
    if profile not in MODELS or not isinstance(sections, dict):
        return content
    sections = dict(sections)
    for name, section in sections.items():
        if isinstance(section, dict):
            # An unknown generator is refused where its section is read.
            with suppress(ValueError):
                settings = find_generator(name).settings
                sections[name] = without_other_models(section, settings, profile)
    return {**content, "generators": sections}
