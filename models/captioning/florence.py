"""Captions by Florence-2 (Xiao et al., CVPR 2024): a DaViT and a BART, prompted by a task."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
    """An image to be captioned.

    Attributes:
        image: uint8 HxWx3 RGB, or HxWx4 RGBA, whose alpha is ignored.
        task: ``<CAPTION>`` for a sentence, ``<DETAILED_CAPTION>`` for two or three.
        max_new_tokens: see `models.captioning.beam_search.Decoding`.
        num_beams: see `Decoding`.
        repetition_penalty: see `Decoding`.
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
                f"FlorenceRequest.image is {image.dtype} {image.shape}; "
                "give uint8 HxWx3 RGB or HxWx4 RGBA"
            )
        if self.task not in get_args(Task):
            raise ValueError(f"task: {self.task!r} is unknown; give {' or '.join(get_args(Task))}")
        _ = self.decoding

    @property
    def decoding(self) -> Decoding:
        """The search settings."""
        return Decoding(self.max_new_tokens, self.num_beams, self.repetition_penalty)


class Florence:
    """``florence-community/Florence-2-base``, in the layout of transformers' own class.

    The files of ``microsoft/Florence-2-*`` are refused: they need remote code and name their
    weights differently.
    """

    modules: tuple[nn.Module, ...]

    def __init__(self, network: Any, processor: Any, batch: int) -> None:
        self.modules = (network,)
        self._network = network
        self._processor = processor
        self._batch = batch

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Florence":
        """Load the network from one folder.

        Raises:
            WrongCheckpointError: weights are missing or belong to another network.
        """
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        (folder,) = folders
        network = load_strictly(Florence2ForConditionalGeneration, folder, machine)
        processor = Florence2Processor.from_pretrained(folder, local_files_only=True)
        return cls(network, processor, machine.batch)

    def compute(self, requests: Sequence[FlorenceRequest]) -> Iterator[str | InvalidOutput]:
        """Yield the network's captions in the order of the requests."""
        groups: dict[tuple[Task, Decoding], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[request.task, request.decoding].append(index)
        captions: dict[int, str | InvalidOutput] = {}
        for (task, decoding), indices in groups.items():
            images = [rgb(requests[index].image) for index in indices]
            run = partial(self._run, task=task, decoding=decoding)
            rows = run_batched(run, images, at_most=self._batch, modules=self.modules)
            captions.update(zip(indices, map(self._decode, rows), strict=True))
        yield from (captions[index] for index in range(len(requests)))

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels], task: Task, decoding: Decoding) -> list[Tensor]:
        device, dtype = device_of(self._network), dtype_of(self._network)
        tensors = [
            torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1) for image in images
        ]
        inputs = self._processor(images=tensors, text=[task] * len(tensors), return_tensors="pt")
        return search(
            self._network.generate,
            decoding,
            len(images),
            pixel_values=inputs["pixel_values"].to(device, dtype),
            input_ids=inputs["input_ids"].to(device),
            attention_mask=inputs["attention_mask"].to(device),
        )

    def _decode(self, row: Tensor | InvalidOutput) -> str | InvalidOutput:
        if isinstance(row, InvalidOutput):
            return row
        ids = row.long().tolist()
        return str(self._processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()
