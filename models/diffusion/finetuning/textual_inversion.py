"""Textual Inversion: learn the embedding of a new word from a few photos of an object.

Source: Gal et al., "An Image is Worth One Word: Personalizing Text-to-Image Generation using
Textual Inversion", ICLR 2023.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser, Progress, as_parameter, ignore_progress
from models.diffusion.finetuning.loop import (
    Schedule,
    photo_of,
    random_of,
    repeatable,
    train_weights,
)

WEIGHTS = "learned_embeds.safetensors"
# The paper's templates for objects, without the word.
TEMPLATES = (
    *("a photo of a", "a rendering of a", "a cropped photo of the", "the photo of a"),
    *("a photo of a clean", "a photo of a dirty", "a dark photo of the", "a photo of my"),
    *("a photo of the cool", "a close-up photo of a", "a bright photo of the"),
    *("a cropped photo of a", "a photo of the", "a good photo of the", "a photo of one"),
    *("a close-up photo of the", "a rendition of the", "a photo of the clean"),
    *("a rendition of a", "a photo of a nice", "a good photo of a", "a photo of the nice"),
    *("a photo of the small", "a photo of the weird", "a photo of the large"),
    *("a photo of a cool", "a photo of a small"),
)
# The keys of SDXL's two embeddings in a published file.
SDXL_KEYS = ("clip_l", "clip_g")


@dataclass(frozen=True, kw_only=True)
class LearnedWord:
    """The file of a learned embedding, and the loss of every step."""

    file: Path
    losses: list[float]


def learn_word(
    denoiser: Denoiser,
    photos: Sequence[Pixels],
    *,
    placeholder: str,
    initializer: str,
    size: int,
    schedule: Schedule,
    seed: int,
    folder: Path,
    progress: Progress = ignore_progress,
) -> LearnedWord:
    """Train the embedding of ``placeholder``; all other weights stay as they are.

    A photo or its mirror image is used in each draw. The file is in the layout that diffusers'
    ``load_textual_inversion`` reads; that of SDXL holds an embedding for each text encoder.

    Args:
        denoiser: the networks; they are as before on return.
        photos: uint8 RGB of any size, 1 or more.
        placeholder: a word that the tokenizers do not have.
        initializer: a word whose first token gives the embedding to start from.
        size: side of the photos in the training, px; a multiple of 64.
        schedule: steps and learning rate.
        seed: 0 .. 2**63 - 1.
        folder: of this training alone; holds its state and its result.
        progress: called after each step with all losses so far and the networks.

    Raises:
        ValueError: the tokenizers have the placeholder, or the initializer is empty.
    """
    with repeatable(seed), _new_word(denoiser, placeholder, initializer) as (networks, vectors):
        latents = denoiser.encode(photos, size, flipped=True)

        def loss_of(draw: int) -> Tensor:
            random = random_of(seed, draw)
            mirrored = int(torch.randint(2, (1,), generator=random))
            photo = photo_of(seed, draw, len(photos)) + mirrored * len(photos)
            template = TEMPLATES[int(torch.randint(len(TEMPLATES), (1,), generator=random))]
            text = networks.embed([f"{template} {placeholder}"])
            return networks.loss(latents.sample(photo, random), text, random).mean()

        losses = train_weights(
            vectors, loss_of, schedule, folder, lambda so_far: progress(so_far, networks)
        )
    keys = SDXL_KEYS if denoiser.is_sdxl else (placeholder,)
    learned = {key: vector.detach().cpu() for key, vector in zip(keys, vectors, strict=True)}
    save_file(learned, folder / WEIGHTS, metadata={"word": placeholder})
    return LearnedWord(file=folder / WEIGHTS, losses=losses)


class _TableWithWord(nn.Module):
    """A table of embeddings with a trained row for a word that the table lacks."""

    def __init__(self, table: nn.Embedding, word: int, vector: nn.Parameter) -> None:
        super().__init__()
        self.table, self.word, self.vector = table, word, vector

    def forward(self, ids: Tensor) -> Tensor:
        known: Tensor = self.table(ids.clamp(max=self.table.num_embeddings - 1))
        return torch.where((ids == self.word)[..., None], self.vector, known)


@contextmanager
def _new_word(
    denoiser: Denoiser, placeholder: str, initializer: str
) -> Iterator[tuple[Denoiser, list[nn.Parameter]]]:
    """The networks that know the word, and its embedding in each text encoder, to train."""
    tokenizers = copy.deepcopy(denoiser.tokenizers)
    tables = [encoder.get_input_embeddings() for encoder in denoiser.text_encoders]
    vectors = []
    for tokenizer, table in zip(tokenizers, tables, strict=True):
        tokens = tokenizer.encode(initializer, add_special_tokens=False)
        if not tokens:
            raise ValueError(f"initializer {initializer!r}: it is empty; give a word")
        if placeholder in tokenizer.get_vocab():
            raise ValueError(
                f"placeholder {placeholder!r}: the tokenizer has this word; choose another"
            )
        tokenizer.add_tokens(placeholder)
        vectors.append(as_parameter(table.weight[tokens[0]]))
    try:
        for tokenizer, encoder, table, vector in zip(
            tokenizers, denoiser.text_encoders, tables, vectors, strict=True
        ):
            word = tokenizer.convert_tokens_to_ids(placeholder)
            encoder.set_input_embeddings(_TableWithWord(table, word, vector))
        yield replace(denoiser, tokenizers=tokenizers), vectors
    finally:
        for encoder, table in zip(denoiser.text_encoders, tables, strict=True):
            encoder.set_input_embeddings(table)
