"""Prompts to the embeddings that SDXL wants, with weights by Compel (github.com/damian0815/compel).

Compel moves each token's embedding away from, or towards, that of the empty prompt; see its syntax
in models/diffusion/prompts.py. Text that is longer than CLIP's 77 positions becomes several
blocks of 77.

The pooled embedding is made as Compel makes it: from the prompt as it is typed, brackets and
numbers included, by the second encoder, cut at 77 tokens. The published images came about so, and
weights can't act on it anyway. Only the backslashes of escaped characters are taken out first, so
that an escaped caption gives what the plain sentence would.
"""

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models.diffusion.prompts import unescape
from models.runtime.batching import dtype_of
from models.runtime.loading import silence_loggers

BLOCK = 77
REMEMBERED = 256


class PromptError(ValueError):
    """A prompt that Compel can't make sense of; the line shows it."""


@dataclass(frozen=True)
class Embedded:
    """Of one prompt, on the CPU: ``tokens`` [77 n, D1 + D2] and ``pooled`` [P], the encoders'
    dtype."""

    tokens: Tensor
    pooled: Tensor

    @property
    def blocks(self) -> int:
        """How many times 77 tokens it has."""
        return len(self.tokens) // BLOCK


class SdxlText:
    """Both text encoders of SDXL with their tokenizers; each prompt is encoded once.

    Args:
        tokenizer, tokenizer_2, text_encoder, text_encoder_2: parts of an SDXL checkpoint.
        remembered: prompts whose embeddings are kept, 0.3 MB each in half precision.
    """

    def __init__(
        self,
        tokenizer: Any,
        tokenizer_2: Any,
        text_encoder: nn.Module,
        text_encoder_2: nn.Module,
        remembered: int = REMEMBERED,
    ) -> None:
        from compel import CompelForSDXL
        from compel.prompt_parser import PromptParser

        parts = SimpleNamespace(
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
        )
        both = CompelForSDXL(parts)
        self._compels = both.compel_1, both.compel_2
        # Building the grammar takes longer than reading a prompt, so it is kept.
        self._parser = PromptParser()
        self._encoders = text_encoder, text_encoder_2
        self._remembered = remembered
        self._cache: OrderedDict[tuple[str, str, torch.dtype], Embedded] = OrderedDict()
        self.encoded = 0

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The two text encoders."""
        return self._encoders

    def embed(self, prompt: str, style: str | None = None) -> Embedded:
        """A prompt in Compel's syntax, of any length.

        Args:
            prompt: what both encoders read.
            style: what the second encoder reads instead, for its tokens and for the pooled
                embedding.

        Raises:
            PromptError: it can't be read, or uses ``.swap()`` or LoRA weights.
        """
        key = prompt, prompt if style is None else style, dtype_of(self._encoders[0])
        known = self._cache.get(key)
        if known is None:
            known = self._cache[key] = self._encode(key[0], key[1])
        self._cache.move_to_end(key)
        if len(self._cache) > self._remembered:
            self._cache.popitem(last=False)
        return known

    def batch(self, prompts: list[str], blocks: int) -> tuple[Tensor, Tensor]:
        """Prompts padded with the empty prompt's blocks: [B, 77 blocks, D] and [B, P], on the CPU.

        Raises:
            PromptError: as `embed`.
        """
        embedded = [self.embed(prompt) for prompt in prompts]
        tokens = [self._padded(one.tokens, blocks) for one in embedded]
        return torch.stack(tokens), torch.stack([one.pooled for one in embedded])

    @torch.inference_mode()
    def _encode(self, prompt: str, style: str) -> Embedded:
        self.encoded += 1
        # The tokenizer warns of long prompts, which are cut into blocks here.
        with silence_loggers("transformers"):
            tokens = [self._tokens(at, text) for at, text in enumerate(self._read(prompt, style))]
        blocks = max(len(one) for one in tokens) // BLOCK
        if len(tokens[0]) != len(tokens[1]):
            tokens = [
                torch.cat([one, *[self._tokens(at, empty)] * (blocks - len(one) // BLOCK)])
                for (at, one), empty in zip(enumerate(tokens), self._read("", ""), strict=True)
            ]
        second = self._compels[1].conditioning_provider
        pooled = second.get_pooled_embeddings([unescape(style)], device=self._compels[1].device)
        return Embedded(torch.cat(tokens, dim=-1).cpu(), pooled[0].cpu())

    def _read(self, prompt: str, style: str) -> list[Any]:
        """What Compel's grammar makes of both; the same object where they are the same."""
        read = {text: self._read_one(text) for text in {prompt, style}}
        return [read[prompt], read[style]]

    def _read_one(self, text: str) -> Any:
        try:
            parsed = self._parser.parse_conjunction(text)
            _take_out_backslashes(parsed)
        except Exception as error:
            # The grammar raises whatever comes up on input that it doesn't know.
            told = " ".join(str(error).split())[:120]
            raise PromptError(f"the prompt {text!r} can't be read ({told}); mend it") from error
        return parsed

    def _tokens(self, encoder: int, parsed: Any) -> Tensor:
        made = self._compels[encoder].build_conditioning_tensor_for_conjunction(parsed)
        tokens: Tensor = made[0][0]
        return tokens

    def _padded(self, tokens: Tensor, blocks: int) -> Tensor:
        missing = blocks - len(tokens) // BLOCK
        return torch.cat([tokens, *[self.embed("").tokens] * missing]) if missing else tokens


def _take_out_backslashes(parsed: Any) -> None:
    """Compel leaves those before ``+ - = . ,`` in the text."""
    for prompt in parsed.prompts:
        for flat in getattr(prompt, "prompts", [prompt]):
            for fragment in flat.children:
                if not hasattr(fragment, "text"):
                    raise ValueError(".swap() is not supported")
                fragment.text = unescape(fragment.text)
