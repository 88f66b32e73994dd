"""Old names of recipe fields, so that a recipe of an earlier version is refused with the new
one.
"""

from typing import Any

_STAGES = (
    "upscale",
    "multiview",
    "upscale_views",
    "augment",
    "segment",
    "depth",
    "masked_depth",
    "caption",
    "background",
    "outpaint",
)
RENAMED: dict[str, str] = {
    **{stage: f"generators.multiview.{stage}" for stage in _STAGES},
    "baseline": "generators.image_to_image.image_to_image",
    "plates": "backgrounds",
    "assemble.few_shot": "datasets (add {name: few_shot, real: references})",
    "assemble.baseline": "datasets (add {name: image_to_image, synthetic: {image_to_image: 1.0}})",
}


def find_renamed(content: dict[str, Any]) -> tuple[str, str] | None:
    """The first old name in a recipe's content and what it is called now, or None."""
    for old, new in RENAMED.items():
        section: Any = content
        for part in old.split("."):
            section = section.get(part) if isinstance(section, dict) else None
        if section is not None:
            return old, new
    return None
