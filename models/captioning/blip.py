"""Captions by BLIP (Li et al., ICML 2022), a vision transformer with a text decoder."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.captioning.beam_search import CaptionNetwork, CaptionRequest, Decoding, search
from models.data.pixels import Pixels, rgb
from models.runtime.batching import (
    InvalidOutput,
    compute_in_groups,
    device_of,
    dtype_of,
    run_batched,
)
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly


@dataclass(frozen=True, eq=False)
class BlipRequest(CaptionRequest):
    """An image to be captioned.

    Attributes:
        prompt_prefix: words with which the caption begins, or None. ``"a photo of a mug"`` tells
            the network what the object is.
    """

    prompt_prefix: str | None = None
    _: KW_ONLY
    repetition_penalty: float = 1.1


class Blip(CaptionNetwork):
    """``Salesforce/blip-image-captioning-large`` or ``-base``."""

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Blip":
        """Load the network from one folder."""
        from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor

        (folder,) = folders
        network = load_strictly(BlipForConditionalGeneration, folder, machine)
        processor = BlipImageProcessor.from_pretrained(folder, local_files_only=True)
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(network, processor, tokenizer, machine.batch)

    def compute(self, requests: Sequence[BlipRequest]) -> Iterator[str | InvalidOutput]:
        """Yield the network's captions in the order of the requests.

        They are lower-case, without a full stop, and begin with the prefix as the tokenizer spells
        it. `models.captioning.cleanup.clean_caption` corrects BLIP's known mistakes.
        """
        # Prefixes of one length need no padding, which would shift the words' positions.
        prefixes = [self._tokenize(request.prompt_prefix) for request in requests]

        def compute(key: tuple[Decoding, int], indices: list[int]) -> Iterator[str | InvalidOutput]:
            items = [(rgb(requests[index].image), prefixes[index]) for index in indices]
            run = partial(self._run, decoding=key[0])
            rows = run_batched(run, items, at_most=self._batch, modules=self.modules)
            # BLIP's rows begin with the start token, which is no special token of its tokenizer.
            return (self._words(r if isinstance(r, InvalidOutput) else r[1:]) for r in rows)

        pairs = zip(requests, prefixes, strict=True)
        keys = [(request.decoding, len(prefix)) for request, prefix in pairs]
        yield from compute_in_groups(keys, compute)

    def _tokenize(self, prefix: str | None) -> list[int]:
        """Return start token, prefix and an end token, which BLIP's ``generate`` removes."""
        text = self._network.config.text_config
        inner = self._tokenizer(prefix or "", add_special_tokens=False)["input_ids"]
        return [text.bos_token_id, *inner, text.sep_token_id]

    @torch.inference_mode()
    def _run(self, batch: Sequence[tuple[Pixels, list[int]]], decoding: Decoding) -> list[Tensor]:
        device, dtype = device_of(self._network), dtype_of(self._network)
        images = self._tensors([image for image, _ in batch])
        inputs = self._processor(images=images, return_tensors="pt")
        ids = torch.tensor([tokens for _, tokens in batch], device=device)
        return search(
            self._network.generate,
            decoding,
            len(batch),
            pixel_values=inputs["pixel_values"].to(dtype),
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
        )
