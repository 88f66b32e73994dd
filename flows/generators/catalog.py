"""All ways to make images. To add a generator, write its file and add a line here."""

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


def find_generator(name: str) -> Generator:
    """The generator of that name.

    Raises:
        ValueError: there is none; names those that there are.
    """
    for generator in GENERATORS:
        if generator.name == name:
            return generator
    names = ", ".join(generator.name for generator in GENERATORS)
    raise ValueError(f"{name}: there is no such generator; choose from: {names}")
