"""Captions by Florence-2 (Xiao et al., CVPR 2024): a DaViT and a BART, prompted by a task."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

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

Task = Literal["<CAPTION>", "<DETAILED_CAPTION>"]


@dataclass(frozen=True, eq=False)
class FlorenceRequest(CaptionRequest):
    """An image to be captioned.

    Attributes:
        task: ``<CAPTION>`` for a sentence, ``<DETAILED_CAPTION>`` for two or three.
    """

    task: Task = "<CAPTION>"
    _: KW_ONLY
    max_new_tokens: int = 60


class Florence(CaptionNetwork):
    """``florence-community/Florence-2-base``, in the layout of transformers' own class.

    The files of ``microsoft/Florence-2-*`` are refused: they need remote code and name their
    weights differently.
    """

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Florence":
        """Load the network from one folder."""
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        (folder,) = folders
        network = load_strictly(Florence2ForConditionalGeneration, folder, machine)
        processor = Florence2Processor.from_pretrained(folder, local_files_only=True)
        return cls(network, processor, processor.tokenizer, machine.batch)

    def compute(self, requests: Sequence[FlorenceRequest]) -> Iterator[str | InvalidOutput]:
        """Yield the network's captions in the order of the requests."""

        def compute(
            key: tuple[Task, Decoding], indices: list[int]
        ) -> Iterator[str | InvalidOutput]:
            images = [rgb(requests[index].image) for index in indices]
            run = partial(self._run, task=key[0], decoding=key[1])
            rows = run_batched(run, images, at_most=self._batch, modules=self.modules)
            return map(self._words, rows)

        keys = [(request.task, request.decoding) for request in requests]
        yield from compute_in_groups(keys, compute)

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels], task: Task, decoding: Decoding) -> list[Tensor]:
        device, dtype = device_of(self._network), dtype_of(self._network)
        prompts, tensors = [task] * len(images), self._tensors(images)
        inputs = self._processor(images=tensors, text=prompts, return_tensors="pt")
        return search(
            self._network.generate,
            decoding,
            len(images),
            pixel_values=inputs["pixel_values"].to(device, dtype),
            input_ids=inputs["input_ids"].to(device),
            attention_mask=inputs["attention_mask"].to(device),
        )
