"""Beam search that gives an image the same words alone and in a batch."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from models.data.pixels import Pixels, require_image
from models.runtime.batching import InvalidOutput, device_of


@dataclass(frozen=True)
class Decoding:
    """How a caption is searched. Nothing is sampled, so a photo always gets the same caption.

    Attributes:
        max_new_tokens: most word pieces, not counting a prefix.
        num_beams: candidates that are kept; 1 is greedy.
        repetition_penalty: divides the logits of tokens already used; 1 for none (Keskar et al.
            2019, section 4.1).
    """

    max_new_tokens: int
    num_beams: int
    repetition_penalty: float


@dataclass(frozen=True, eq=False)
class CaptionRequest:
    """An image to be captioned: uint8 HxWx3 RGB, or HxWx4 RGBA, whose alpha is ignored.

    The other attributes are those of `Decoding`.
    """

    image: Pixels
    _: KW_ONLY
    max_new_tokens: int = 30
    num_beams: int = 3
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        require_image(self.image, f"{type(self).__name__}.image")

    @property
    def decoding(self) -> Decoding:
        """The search settings."""
        return Decoding(self.max_new_tokens, self.num_beams, self.repetition_penalty)


def search(
    generate: Callable[..., Tensor], decoding: Decoding, images: int, **inputs: Any
) -> list[Tensor]:
    """Return the token ids of a batch, one float32 row per image.

    A row is NaN if the network's scores overflowed, which the ids alone would not show;
    `models.runtime.batching.run_batched` checks for it.

    Args:
        generate: the network's ``generate``.
        decoding: how to search.
        images: number of images. All inputs have one length, because padding changes results.
        inputs: further arguments of ``generate``.
    """
    monitor = _OverflowMonitor(images)
    ids = generate(
        **inputs,
        max_new_tokens=decoding.max_new_tokens,
        num_beams=decoding.num_beams,
        repetition_penalty=decoding.repetition_penalty,
        early_stopping=decoding.num_beams > 1,
        do_sample=False,
        logits_processor=LogitsProcessorList([monitor]),
    )
    rows = ids.float()
    rows[monitor.overflowed] = torch.nan
    return list(rows)


class CaptionNetwork:
    """A network of transformers that writes captions, with its image processor and tokenizer."""

    def __init__(self, network: Any, processor: Any, tokenizer: Any, batch: int) -> None:
        self.modules: tuple[nn.Module, ...] = (network,)
        self._network, self._processor, self._tokenizer = network, processor, tokenizer
        self._batch = batch

    def _tensors(self, images: Sequence[Pixels]) -> list[Tensor]:
        """The images on the network's device, uint8 [3, H, W]; copies, as they may be read-only."""
        device = device_of(self._network)
        return [torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1) for image in images]

    def _words(self, row: Tensor | InvalidOutput) -> str | InvalidOutput:
        """The words of token ids without special tokens."""
        if isinstance(row, InvalidOutput):
            return row
        ids = row.long().tolist()
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()


class _OverflowMonitor(LogitsProcessor):  # type: ignore[misc]  # transformers is not typed here
    """Record which images had a NaN or infinite score; leave the scores unchanged."""

    def __init__(self, images: int) -> None:
        self.overflowed = torch.zeros(images, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        bad = torch.isnan(scores).any(dim=-1) | torch.isposinf(scores).any(dim=-1)
        self.overflowed = self.overflowed.to(bad.device)
        self.overflowed |= bad.view(len(self.overflowed), -1).any(dim=-1)
        return scores
