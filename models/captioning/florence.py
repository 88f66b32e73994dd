"""Captions by Florence-2 (Xiao et al., CVPR 2024): a DaViT and a BART, asked by task."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from models.captioning.beam_search import Decoding, search
from models.data.pixels import Pixels, rgb
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly

Task = Literal["<CAPTION>", "<DETAILED_CAPTION>"]


@dataclass(frozen=True, eq=False)
class FlorenceRequest:
    """An image to be put into words.

    Attributes:
        image: uint8 HxWx3 RGB, or HxWx4 RGB + matte, of which the matte is not read.
        task: ``<CAPTION>`` for a sentence, ``<DETAILED_CAPTION>`` for two or three.
        max_new_tokens, num_beams, repetition_penalty: see `models.captioning.beam_search.Decoding`.
    """

    image: Pixels
    task: Task = "<CAPTION>"
    max_new_tokens: int = 60
    num_beams: int = 3
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        image = self.image
        if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
            raise ValueError(
                f"FlorenceRequest.image is {image.dtype} {image.shape}; give uint8 HxWx3 RGB or "
                "HxWx4 RGB + matte"
            )
        if self.task not in get_args(Task):
            raise ValueError(f"task {self.task!r}: give one of {', '.join(get_args(Task))}")
        _ = self.decoding

    @property
    def decoding(self) -> Decoding:
        """How its caption is searched."""
        return Decoding(self.max_new_tokens, self.num_beams, self.repetition_penalty)


class Florence:
    """``florence-community/Florence-2-base``: the layout of transformers' own class.

    The files of ``microsoft/Florence-2-*`` have other key names and need remote code: they are
    refused.
    """

    modules: tuple[nn.Module, ...]

    def __init__(self, network: Any, processor: Any, batch: int) -> None:
        self.modules = (network,)
        self._network = network
        self._processor = processor
        self._batch = batch

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Florence":
        """The network of one folder.

        Raises:
            WrongCheckpointError: the folder holds other weights.
        """
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        (folder,) = folders
        network = load_strictly(Florence2ForConditionalGeneration, folder, machine)
        processor = Florence2Processor.from_pretrained(folder, local_files_only=True)
        return cls(network, processor, machine.batch)

    def compute(self, requests: Sequence[FlorenceRequest]) -> Iterator[str | InvalidOutput]:
        """Captions in the order of the requests, as the network words them."""
        alike: dict[tuple[Task, Decoding], list[int]] = defaultdict(list)
        for at, request in enumerate(requests):
            alike[request.task, request.decoding].append(at)
        results: dict[int, str | InvalidOutput] = {}
        for (task, decoding), places in alike.items():
            images = [rgb(requests[at].image) for at in places]

            def run(batch: Sequence[Pixels], asked: Task = task, how: Decoding = decoding) -> Any:
                return self._run(batch, asked, how)

            found = run_batched(run, images, at_most=self._batch, modules=self.modules)
            results.update(zip(places, map(self._words, found), strict=True))
        yield from (results[at] for at in range(len(requests)))

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels], task: Task, decoding: Decoding) -> list[Tensor]:
        device, dtype = device_of(self._network), dtype_of(self._network)
        shown = [torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1) for image in images]
        ready = self._processor(images=shown, text=[task] * len(shown), return_tensors="pt")
        return search(
            self._network.generate,
            decoding,
            len(images),
            pixel_values=ready["pixel_values"].to(device, dtype),
            input_ids=ready["input_ids"].to(device),
            attention_mask=ready["attention_mask"].to(device),
        )

    def _words(self, row: Tensor | InvalidOutput) -> str | InvalidOutput:
        if isinstance(row, InvalidOutput):
            return row
        ids = row.long().tolist()
        return str(self._processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()
