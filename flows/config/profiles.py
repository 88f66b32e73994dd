"""Profiles: the model of each stage whose section of a recipe names none."""

from typing import Any

from flows.config.sections import model_of, settings_classes
from models.data.records import Record
from models.data.specs import Profile

# Per profile: section of a generator -> model. A section that is not here has one way of working.
MODELS: dict[Profile, dict[str, str]] = {
    "classical": {
        "upscale": "lanczos",
        "multiview": "relief",
        "upscale_views": "lanczos",
        "segment": "grabcut",
        "depth": "relief",
        "caption": "template",
        "background": "composite",
        "outpaint": "extend",
        "image_to_image": "sdxl-img2img",
        "base": "from-scratch",
        "fit": "all-weights",
    },
    "diffusion": {
        "upscale": "realesrgan",
        "multiview": "zero123plus",
        "upscale_views": "realesrgan",
        "segment": "isnet",
        "depth": "dpt",
        "caption": "blip",
        "background": "sdxl-controlnet-depth",
        "outpaint": "sd2-inpaint",
        "image_to_image": "sdxl-img2img",
        "text_to_image": "sd15",
        "controlnet": "sd15-canny",
        "inpaint": "sd15-inpaint",
        "base": "adm-256",
        "fit": "adapters",
    },
}


def with_models(
    content: dict[str, Any], settings: type[Record], profile: Profile
) -> dict[str, Any]:
    """The content of a generator's section in which every stage names its model.

    An optional stage is off unless the recipe has a section for it.
    """
    named = dict(content)
    for name, field in settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        value = named.get(name, {} if isinstance(default, Record) else None)
        classes = settings_classes(field.annotation)
        if classes and isinstance(value, dict):
            named[name] = _with_model(value, default, classes, MODELS[profile].get(name))
    return named


def require_models(
    content: dict[str, Any], settings: type[Record], generator: str, profile: Profile
) -> None:
    """Return if the profile has a model for every section that needs one and names none.

    Raises:
        ValueError: it has none, because only networks can do what the generator does.
    """
    for name in settings.model_fields:
        value = content.get(name, {})
        others = [models[name] for models in MODELS.values() if name in models]
        is_named = isinstance(value, dict) and "model" in value
        if others and name not in MODELS[profile] and not is_named:
            raise ValueError(
                f"{generator}: the profile {profile} has no model for it; set profile: diffusion, "
                f"or {name}.model: {others[0]}, with its weights on this machine"
            )


def _with_model(
    value: dict[str, Any], default: Any, classes: tuple[type[Record], ...], model: str | None
) -> dict[str, Any]:
    """A stage's section with its model, and with the values that its generator sets."""
    if len(classes) > 1 and "model" not in value:
        value = {"model": model or getattr(default, "model", model_of(classes[0])), **value}
    chosen = [cls for cls in classes if len(classes) == 1 or model_of(cls) == value["model"]]
    if not chosen or not isinstance(default, Record):
        return value
    preset = {
        name: getattr(default, name)
        for name in default.model_fields_set & chosen[0].model_fields.keys()
        if name != "model"
    }
    return {**preset, **value}


def without_other_models(
    content: dict[str, Any], settings: type[Record], profile: Profile
) -> dict[str, Any]:
    """The content of a generator's section without the fields that only other models have.

    Sections that name their model stay as they are.
    """
    pruned = dict(content)
    for name, value in content.items():
        field = settings.model_fields.get(name)
        classes = settings_classes(field.annotation) if field else ()
        model = MODELS[profile].get(name)
        if len(classes) > 1 and isinstance(value, dict) and "model" not in value:
            chosen = [cls for cls in classes if model_of(cls) == model]
            others = {field for cls in classes for field in cls.model_fields}
            dropped = others - {field for cls in chosen for field in cls.model_fields}
            pruned[name] = {field: value[field] for field in value if field not in dropped}
    return pruned
