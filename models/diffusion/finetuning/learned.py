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

    Args:
        base: folder of the checkpoint, whose U-Net comes back when its weights were replaced.
        pipeline: of diffusers; no other pipeline may share its U-Net and its text encoders.
    """

    def __init__(self, base: Path, pipeline: Any) -> None:
        self._base, self._pipeline = base, pipeline
        self._current: Learned | None = None

    def use(self, learned: Learned) -> bool:
        """Put weights into the pipeline; returns whether it had others.

        Raises:
            WrongCheckpointError: the file is of another network.
        """
        if learned == self._current:
            return False
        self._restore_unet(learned)
        if learned.kind == "word":
            self._put_word(learned)
        elif learned.kind == "unet":
            fill(self._pipeline.unet, load_file(learned.file), learned.file)
        else:
            self._put_lora(learned.file)
        self._current = learned
        return True

    def _restore_unet(self, coming: Learned) -> None:
        """The checkpoint's own U-Net, unless all its weights will be replaced anyway."""
        before, self._current = self._current, None
        if before is not None and before.kind == "lora":
            self._pipeline.unet.unload_lora()
        elif before is not None and before.kind == "unet" and coming.kind != "unet":
            unet = self._pipeline.unet
            cpu = Machine(torch.device("cpu"), unet.dtype)
            own = load_strictly(type(unet), self._base / "unet", cpu)
            fill(unet, own.state_dict(), self._base)

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
        unet.load_lora_adapter(load_file(file), prefix="unet")
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
