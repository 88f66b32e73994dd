"""Encode prompts as SDXL needs them, with weights by Compel (github.com/damian0815/compel).

Compel moves each token's embedding away from, or towards, that of the empty prompt;
`models/diffusion/prompts.py` describes its syntax. Text longer than CLIP's 77 positions becomes
several blocks of 77.

The pooled embedding is made as Compel makes it: the second encoder reads the prompt as it is typed,
brackets and numbers included, cut at 77 tokens. The published images were made this way, and
weights cannot act on it anyway. Only the backslashes of escaped characters are removed first, so an
escaped caption gives the same embedding as the plain sentence.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from models.diffusion.prompts import unescape
from models.runtime.batching import dtype_of
from models.runtime.loading import silence_loggers

BLOCK = 77
# 0.3 MB each in half precision.
_CACHED_PROMPTS = 256


class PromptError(ValueError):
    """Compel cannot parse a prompt; the message shows it."""


@dataclass(frozen=True)
class Embedding:
    """The embedding of one prompt, on the CPU in the encoders' dtype.

    ``tokens`` [77 n, D1 + D2] and ``pooled`` [P].
    """

    tokens: Tensor
    pooled: Tensor

    @property
    def blocks(self) -> int:
        """The number of blocks of 77 tokens."""
        return len(self.tokens) // BLOCK


class SdxlText:
    """Both text encoders of SDXL with their tokenizers; embeddings of prompts are cached.

    Args:
        tokenizer, tokenizer_2, text_encoder, text_encoder_2: parts of an SDXL checkpoint.
    """

    def __init__(
        self, tokenizer: Any, tokenizer_2: Any, text_encoder: nn.Module, text_encoder_2: nn.Module
    ) -> None:
        from compel import CompelForSDXL
        from compel.prompt_parser import PromptParser

        parts = SimpleNamespace(
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
        )
        compel = CompelForSDXL(parts)
        self._compels = compel.compel_1, compel.compel_2
        # Building the grammar takes longer than parsing a prompt, so it is built once.
        self._parser = PromptParser()
        self._encoders = text_encoder, text_encoder_2
        self._cache: LRUCache[tuple[str, torch.dtype], Embedding] = LRUCache(_CACHED_PROMPTS)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The two text encoders."""
        return self._encoders

    def embed(self, prompt: str) -> Embedding:
        """The embedding of a prompt in Compel's syntax, of any length.

        Raises:
            PromptError: Compel cannot parse it, or it uses ``.swap()`` or LoRA weights.
        """
        key = prompt, dtype_of(self._encoders[0])
        if key not in self._cache:
            self._cache[key] = self._encode(prompt)
        return self._cache[key]

    def forget(self) -> None:
        """Encode all prompts again, because the text encoders or tokenizers have changed."""
        self._cache.clear()

    def batch(self, prompts: list[str], blocks: int) -> tuple[Tensor, Tensor]:
        """Embeddings [B, 77 blocks, D] and [B, P] of prompts, on the CPU.

        Shorter prompts are padded with blocks of the empty prompt.

        Raises:
            PromptError: as `embed`.
        """
        embeddings = [self.embed(prompt) for prompt in prompts]
        tokens = [self._pad(embedding.tokens, blocks) for embedding in embeddings]
        return torch.stack(tokens), torch.stack([embedding.pooled for embedding in embeddings])

    @torch.inference_mode()
    def _encode(self, prompt: str) -> Embedding:
        parsed = self._parse(prompt)
        # The tokenizer warns of long prompts, which are split into blocks here.
        with silence_loggers("transformers"):
            tokens = [
                compel.build_conditioning_tensor_for_conjunction(parsed)[0][0]
                for compel in self._compels
            ]
        second = self._compels[1]
        pooled = second.conditioning_provider.get_pooled_embeddings(
            [unescape(prompt)], device=second.device
        )
        return Embedding(torch.cat(tokens, dim=-1).cpu(), pooled[0].cpu())

    def _parse(self, prompt: str) -> Any:
        try:
            parsed = self._parser.parse_conjunction(prompt)
            _remove_backslashes(parsed)
        except Exception as error:
            # The grammar raises errors of many kinds on input that it cannot parse.
            reason = " ".join(str(error).split())[:120]
            raise PromptError(f"the prompt {prompt!r} can't be read ({reason}); fix it") from error
        return parsed

    def _pad(self, tokens: Tensor, blocks: int) -> Tensor:
        missing = blocks - len(tokens) // BLOCK
        return torch.cat([tokens, *[self.embed("").tokens] * missing]) if missing else tokens


def _remove_backslashes(parsed: Any) -> None:
    """Remove backslashes before ``+ - = . ,``, which Compel leaves in the text."""
    for prompt in parsed.prompts:
        for flat in getattr(prompt, "prompts", [prompt]):
            for fragment in flat.children:
                if not hasattr(fragment, "text"):
                    raise ValueError(".swap() is not supported; remove it")
                fragment.text = unescape(fragment.text)
