"""All ways to make images. To add a generator, write its file and add a line here."""

import re
from dataclasses import replace

from flows.generators import (
    controlnet,
    copy_paste,
    ddpm_repaint,
    dreambooth,
    good_photos,
    image_to_image,
    inpaint,
    multiview,
    text_to_image,
    textual_inversion,
)
from flows.generators.base import Generator

GENERATORS: tuple[Generator, ...] = (
    multiview.GENERATOR,
    image_to_image.GENERATOR,
    text_to_image.GENERATOR,
    controlnet.GENERATOR,
    textual_inversion.GENERATOR,
    dreambooth.GENERATOR,
    copy_paste.GENERATOR,
    inpaint.GENERATOR,
    good_photos.GENERATOR,
    ddpm_repaint.GENERATOR,
)

# What may follow the hyphen in the name of a section.
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]*")


def find_generator(name: str) -> Generator:
    """The generator of a section of a recipe; its name is that of the section.

    A section is named as its generator, or so with a hyphen and a word: ``copy_paste-near`` is
    ``copy_paste`` again, with settings of its own.

    Raises:
        ValueError: there is no such generator, or the word can't be part of a file's name.
    """
    base, hyphen, word = str(name).partition("-")
    if hyphen and not _WORD.fullmatch(word):
        raise ValueError(
            f"{name}: the word after the hyphen may have a-z, 0-9, - and _; use a name such as "
            f"{base}-second"
        )
    for generator in GENERATORS:
        if generator.name == base:
            return replace(generator, name=name)
    names = ", ".join(generator.name for generator in GENERATORS)
    raise ValueError(f"{name}: there is no such generator; choose from: {names}")
