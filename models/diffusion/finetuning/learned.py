"""Learned weights in the networks that draw: a word, a LoRA, or all weights of a U-Net."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.diffusion.finetuning.textual_inversion import SDXL_KEYS
from models.runtime.batching import device_of, dtype_of
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, fill, load_strictly

LearnedKind = Literal["word", "unet", "lora"]
# Folders of a checkpoint: one of Stable Diffusion 1.5, both of SDXL.
TOKENIZERS = ("tokenizer", "tokenizer_2")


@dataclass(frozen=True)
class Learned:
    """The weights that images are drawn with.

    Args:
        kind: what `learn_word` or `tune_unet` learned.
        file: its safetensors file.
        word: the word in prompts; used where ``kind`` is ``word``.
    """

    kind: LearnedKind
    file: Path
    word: str = ""


class LearnedWeights:
    """The learned weights that a pipeline has now, and how it gets others.

    What an image shows depends on its own weights alone: those of earlier images are removed first.

    Args:
        base: folder of the checkpoint, whose U-Net and tokenizers come back when they were changed.
        pipeline: of diffusers; no other pipeline may share its U-Net, text encoders and tokenizers.
    """

    def __init__(self, base: Path, pipeline: Any) -> None:
        self._base, self._pipeline = base, pipeline
        self._current: Learned | None = None
        # After an error the pipeline may have a part of these.
        self._last_put: Learned | None = None

    def use(self, learned: Learned) -> bool:
        """Put weights into the pipeline; returns whether it had others.

        Raises:
            WrongCheckpointError: the file is of another network.
        """
        if learned == self._current:
            return False
        self._current = None
        if self._last_put is not None:
            self._remove(self._last_put, learned)
        self._last_put = learned
        if learned.kind == "word":
            self._put_word(learned)
        elif learned.kind == "unet":
            fill(self._pipeline.unet, load_file(learned.file), learned.file)
        else:
            self._put_lora(learned.file)
        self._current = learned
        return True

    def _remove(self, put: Learned, coming: Learned) -> None:
        """Undo what was put, unless what comes replaces all of it."""
        if put.kind == "lora":
            self._pipeline.unet.unload_lora()
        elif put.kind == "unet" and coming.kind != "unet":
            unet = self._pipeline.unet
            cpu = Machine(torch.device("cpu"), unet.dtype)
            own = load_strictly(type(unet), self._base / "unet", cpu)
            fill(unet, own.state_dict(), self._base)
        elif put.kind == "word" and coming.word != put.word:
            self._forget_words()

    def _forget_words(self) -> None:
        """Give the tokenizers their own words; others refer to them, so they stay the same objects.

        The row of a word stays in the table of embeddings, where the next word replaces it.
        """
        for name, (tokenizer, _) in zip(TOKENIZERS, _encoders(self._pipeline), strict=False):
            own = type(tokenizer).from_pretrained(self._base / name, local_files_only=True)
            vars(tokenizer).update(vars(own))

    def _put_word(self, learned: Learned) -> None:
        vectors = load_file(learned.file)
        encoders = _encoders(self._pipeline)
        keys = SDXL_KEYS if len(encoders) > 1 else (learned.word,)
        for key, (tokenizer, encoder) in zip(keys, encoders, strict=True):
            width = encoder.get_input_embeddings().embedding_dim
            if key not in vectors or vectors[key].shape != (width,):
                raise WrongCheckpointError(
                    f"{learned.file}: no embedding {key!r} of {width} numbers; give a word that "
                    f"was learned with {self._base}"
                )
            _set_word(tokenizer, encoder, learned.word, vectors[key])

    def _put_lora(self, file: Path) -> None:
        unet = self._pipeline.unet
        device, dtype = device_of(unet), dtype_of(unet)
        try:
            unet.load_lora_adapter(load_file(file), prefix="unet")
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise WrongCheckpointError(
                f"{file}: no LoRA of this U-Net ({reason}); give one that was learned with "
                f"{self._base}"
            ) from error
        # The method of diffusers warns of every cast.
        nn.Module.to(unet, device, dtype)


def _encoders(pipeline: Any) -> Sequence[tuple[Any, Any]]:
    """The tokenizers of a pipeline, each with its text encoder."""
    first = (pipeline.tokenizer, pipeline.text_encoder)
    if not hasattr(pipeline, "text_encoder_2"):
        return [first]
    return [first, (pipeline.tokenizer_2, pipeline.text_encoder_2)]


@torch.no_grad()
def _set_word(tokenizer: Any, encoder: Any, word: str, vector: Tensor) -> None:
    """The word's row in the table of embeddings; prompts without the word are read as before."""
    tokenizer.add_tokens(word)
    row = tokenizer.convert_tokens_to_ids(word)
    if row >= encoder.get_input_embeddings().num_embeddings:
        encoder.resize_token_embeddings(row + 1, mean_resizing=False)
    encoder.get_input_embeddings().weight[row] = vector.to(encoder.get_input_embeddings().weight)
