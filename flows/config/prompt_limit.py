"""Prompts that are longer than a text encoder reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.config.recipe import Recipe
from models.diffusion.prompts import MOST_TOKENS, count_tokens, to_compel
from tasks.generate.image_to_image import ImageToImage
from tasks.settings.background import BackgroundSdxl
from tasks.settings.outpaint import OutpaintSd2

_SDXL = "SDXL cuts its summary of a prompt at {most}, and reads the rest in blocks of {most}"
_SD2 = "sd2-inpaint cuts a prompt at {most}"


def prompt_warnings(recipe: Recipe, prompts: Mapping[str, str]) -> list[str]:
    """A line per prompt and model that cuts it; none for models that read no text.

    Args:
        prompts: the prompts of photos, by file.
    """
    lines = []
    for generator, settings in recipe.generators.items():
        caption = getattr(settings, "caption", None)
        per_class = getattr(caption, "prompts", {})
        written = {
            **prompts,
            **{f"generators.{generator}.caption.prompts.{k}": v for k, v in per_class.items()},
        }
        for ending, effect in _readers(settings):
            for name, prompt in written.items():
                tokens = count_tokens(to_compel(f"{prompt} {ending}"))
                if tokens > MOST_TOKENS:
                    lines.append(
                        f"{name}: the prompt has {tokens} tokens or more with what the recipe adds;"
                        f" {effect.format(most=MOST_TOKENS)}"
                    )
    return lines


def _readers(settings: Any) -> Iterator[tuple[str, str]]:
    """What each model of a generator adds to a prompt, and what it does with a long one."""
    for _, section in settings:
        if isinstance(section, BackgroundSdxl):
            yield f"{section.prompt} {section.suffix}", _SDXL
        elif isinstance(section, ImageToImage):
            yield section.suffix, _SDXL
        elif isinstance(section, OutpaintSd2) and section.prompt_from == "caption":
            yield "", _SD2
