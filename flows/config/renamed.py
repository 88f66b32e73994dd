"""Old names of recipe fields.

A recipe of an earlier version is refused with the new names.
"""

from collections.abc import Iterator
from typing import Any

# Sections of the first version -> section of a generator.
_SECTIONS = {
    "upscale": "generators.multiview.upscale",
    "multiview": "generators.multiview.multiview",
    "upscale_views": "generators.multiview.upscale_views",
    "augment": "generators.multiview.augment",
    "segment": "generators.multiview.segment",
    "depth": "generators.multiview.depth",
    "masked_depth": "generators.multiview.masked_depth",
    "caption": "generators.multiview.caption",
    "background": "generators.multiview.background",
    "outpaint": "generators.multiview.outpaint",
    "baseline": "generators.image_to_image.image_to_image",
}
# Section of a generator -> old field -> new field.
_FIELDS: dict[str, dict[str, str]] = {
    "upscale": {"checkpoint_x2": "checkpoint", "checkpoint_x4": "checkpoint"},
    "upscale_views": {"checkpoint_x2": "checkpoint", "checkpoint_x4": "checkpoint"},
    "multiview": {"painted": "paint_size"},
    "augment": {"copies": "n_augmentations"},
    "segment": {
        "isnet_checkpoint": "checkpoint",
        "sam_checkpoint": "checkpoint",
        "agree_with_prior": "min_previous_iou",
        "refine_band": "refine.band",
        "refine_checkpoint": "refine.checkpoint",
        # A name in place of a mapping.
        "refine": "refine.band",
    },
    "depth": {"depth_anything": "checkpoint"},
    "masked_depth": {"floor": "min_depth"},
    "caption": {"florence": "checkpoint"},
    "background": {
        "copies": "n_backgrounds",
        "from_above": "top_view_probability",
        "ranges.tilt": "ranges.max_rotation",
        "ranges.harmony": "ranges.colour_matching",
        "paste_back": "keep_original_pixels",
        "few_step_checkpoint": "few_step.checkpoint",
        # A number in place of a mapping.
        "few_step": "few_step.steps",
    },
    "outpaint": {"k": "grid_size", "reach": "max_shift"},
    "image_to_image": {"copies": "n_images"},
}
_OTHERS = {
    "plates": "backgrounds",
    "assemble.few_shot": "datasets (add {name: few_shot, real: references})",
    "assemble.baseline": "datasets (add {name: image_to_image, synthetic: {image_to_image: 1.0}})",
}


def find_renamed(content: dict[str, Any]) -> tuple[str, str] | None:
    """The first old name in a recipe's content and its new name, or None."""
    for path, new_path in _section_paths(content):
        section = _value_at(content, path)
        for old, new in _FIELDS.get(new_path.rpartition(".")[2], {}).items():
            value = _value_at(section, old)
            is_new = isinstance(value, dict) and new.startswith(f"{old}.")
            if value is not None and not is_new:
                return f"{path}.{old}", f"{new_path}.{new}"
    for old, new in {**_SECTIONS, **_OTHERS}.items():
        if _value_at(content, old) is not None:
            return old, new
    return None


def _section_paths(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The path of every section in which fields were renamed, and the path that it has now."""
    yield from _SECTIONS.items()
    generators = content.get("generators")
    for generator in generators if isinstance(generators, dict) else ():
        for section in _FIELDS:
            path = f"generators.{generator}.{section}"
            yield path, path


def _value_at(content: Any, path: str) -> Any:
    for part in path.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content
