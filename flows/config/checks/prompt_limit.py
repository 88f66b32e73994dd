"""Prompts that are longer than a text encoder reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.config.recipe import Recipe
from models.captioning.template import class_words, with_class
from models.diffusion.prompts import MOST_TOKENS, count_tokens, to_compel, without_weights
from tasks.generate.image_to_image import ImageToImage
from tasks.settings.background import BackgroundSdxl
from tasks.settings.class_prompts import ClassPrompts
from tasks.settings.outpaint import OutpaintSd2
from tasks.settings.text_to_image import TextToImageSdxl

_SDXL = "SDXL cuts its summary of a prompt at {most}, and reads the rest in blocks of {most}"
_CUTS = "{model} cuts a prompt at {most}"


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
                lines += _warning(name, f"{prompt} {ending}", effect, " with what the recipe adds")
        for section, texts in settings:
            if isinstance(texts, ClassPrompts):
                is_sdxl = isinstance(texts, TextToImageSdxl)
                effect = _SDXL if is_sdxl else _CUTS.replace("{model}", _model_of(texts))
                for name, prompt in _class_prompts(texts):
                    # Stable Diffusion 1.5 gets the words alone.
                    read = prompt if is_sdxl else without_weights(prompt)
                    lines += _warning(f"generators.{generator}.{section}.{name}", read, effect)
    return lines


def _warning(name: str, prompt: str, effect: str, of_what: str = "") -> list[str]:
    """One line about a prompt that is too long; none about others."""
    tokens = count_tokens(to_compel(prompt))
    if tokens <= MOST_TOKENS:
        return []
    cut = effect.format(most=MOST_TOKENS)
    return [f"{name}: the prompt has {tokens} tokens or more{of_what}; {cut}"]


def _class_prompts(texts: ClassPrompts) -> Iterator[tuple[str, str]]:
    """The prompts of classes by their field, filled in; a class of one word where it is open."""
    for number, template in enumerate(texts.templates):
        yield f"templates.{number}", with_class(template, "class")
    yield "negative_prompt", with_class(texts.negative_prompt, "class")
    for label, templates in texts.prompts.items():
        for number, template in enumerate(templates):
            yield f"prompts.{label}.{number}", with_class(template, class_words(label))
    for label, negative in texts.negative_prompts.items():
        yield f"negative_prompts.{label}", negative


def _model_of(section: Any) -> str:
    return str(section.model)


def _readers(settings: Any) -> Iterator[tuple[str, str]]:
    """What each model of a generator adds to a prompt, and what it does with a long one."""
    for _, section in settings:
        if isinstance(section, BackgroundSdxl):
            yield f"{section.prompt} {section.suffix}", _SDXL
        elif isinstance(section, ImageToImage):
            yield section.suffix, _SDXL
        elif isinstance(section, OutpaintSd2) and section.prompt_from == "caption":
            yield "", _CUTS.replace("{model}", _model_of(section))
