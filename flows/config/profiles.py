"""Profiles: the model of each stage whose section of a recipe names none."""

from typing import Any, Literal

Profile = Literal["classical", "diffusion"]

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
    },
}


def with_models(content: dict[str, Any], sections: set[str], profile: Profile) -> dict[str, Any]:
    """The content of a generator's section in which every stage names its model.

    Args:
        content: as the recipe has it.
        sections: the fields of the generator's settings that are to have a model.
        profile: whose models fill the gaps.
    """
    named = dict(content)
    for section, model in MODELS[profile].items():
        value = named.get(section, {})
        if section in sections and isinstance(value, dict):
            named[section] = {"model": model, **value}
    return named
