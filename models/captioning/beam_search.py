"""Captions token by token: beam search that gives an image the same words alone and in company."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList


@dataclass(frozen=True)
class Decoding:
    """How a caption is searched; there is no sampling, so a photo always gets the same one.

    Attributes:
        max_new_tokens: word pieces at most, beside a given beginning.
        num_beams: sentences that are kept in view; 1 is greedy.
        repetition_penalty: 1 for none; what has been said has its logit divided by it (Keskar et
            al. 2019, section 4.1).
    """

    max_new_tokens: int = 30
    num_beams: int = 3
    repetition_penalty: float = 1.1

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.num_beams < 1:
            raise ValueError(
                f"max_new_tokens and num_beams must be 1 or more, not {self.max_new_tokens} and "
                f"{self.num_beams}"
            )
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty {self.repetition_penalty}: give 1 or a bit more")


def search(
    generate: Callable[..., Tensor], decoding: Decoding, images: int, **inputs: Any
) -> list[Tensor]:
    """Token ids of a batch, one float32 row per image, as `models.runtime.batching.guarded`
    checks them.

    A row is NaN where the network's numbers overflowed: the ids alone would not show it.

    Args:
        generate: the network's ``generate``.
        decoding: how to search.
        images: in the batch; all inputs are of one length, as padding would change results.
        inputs: further arguments of ``generate``.
    """
    finite = _Finite(images)
    ids = generate(
        **inputs,
        max_new_tokens=decoding.max_new_tokens,
        num_beams=decoding.num_beams,
        repetition_penalty=decoding.repetition_penalty,
        early_stopping=decoding.num_beams > 1,
        do_sample=False,
        logits_processor=LogitsProcessorList([finite]),
    )
    rows = ids.float()
    rows[finite.overflowed] = torch.nan
    return list(rows)


class _Finite(LogitsProcessor):  # type: ignore[misc]  # transformers is not typed here
    """Changes nothing, and remembers which images had a score that is no number."""

    def __init__(self, images: int) -> None:
        self.overflowed = torch.zeros(images, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        bad = torch.isnan(scores).any(dim=-1) | torch.isposinf(scores).any(dim=-1)
        self.overflowed = self.overflowed.to(bad.device)
        self.overflowed |= bad.view(len(self.overflowed), -1).any(dim=-1)
        return scores
