"""CLIP (Radford et al., ICML 2021): features of images and of texts that can be compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from models.data.pixels import Floats, Pixels, require_image, rgb
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
class ClipRequest:
    """An image or a text to be embedded.

    Attributes:
        content: uint8 HxWx3 RGB, HxWx4 RGBA, whose alpha is ignored, or a sentence. Of a sentence
            with more than 77 tokens, the network reads the first ones.
    """

    content: Pixels | str

    def __post_init__(self) -> None:
        if not isinstance(self.content, str):
            require_image(self.content, "ClipRequest.content")


class Clip:
    """``openai/clip-vit-base-patch32``, or another CLIP in the layout of transformers."""

    def __init__(self, network: Any, processor: Any, tokenizer: Any, batch: int) -> None:
        self.modules: tuple[nn.Module, ...] = (network,)
        self._network, self._processor, self._tokenizer = network, processor, tokenizer
        self._batch = batch

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Clip":
        """Load the network from one folder. PIL resizes, as in CLIP's training."""
        from transformers import CLIPModel, CLIPTokenizer
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        (folder,) = folders
        network = load_strictly(CLIPModel, folder, machine)
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(network, processor, tokenizer, machine.batch)

    def compute(self, requests: Sequence[ClipRequest]) -> Iterator[Floats | InvalidOutput]:
        """Yield features of length 1, float32 (values,), in the order of the requests.

        The scalar product of two of them is their cosine similarity.
        """

        def compute(is_text: bool, indices: list[int]) -> Iterator[Floats | InvalidOutput]:
            contents: list[Any] = [requests[index].content for index in indices]
            run = self._embed_texts if is_text else self._embed_images
            for row in run_batched(run, contents, at_most=self._batch, modules=self.modules):
                yield row if isinstance(row, InvalidOutput) else row.numpy()

        yield from compute_in_groups([isinstance(one.content, str) for one in requests], compute)

    @torch.inference_mode()
    def _embed_images(self, images: Sequence[Pixels]) -> Sequence[Tensor]:
        photos = [Image.fromarray(np.ascontiguousarray(rgb(image))) for image in images]
        pixels = self._processor(images=photos, return_tensors="pt").pixel_values
        pixels = pixels.to(device_of(self._network), dtype_of(self._network))
        return _unit(self._network.get_image_features(pixel_values=pixels).pooler_output)

    @torch.inference_mode()
    def _embed_texts(self, texts: Sequence[str]) -> Sequence[Tensor]:
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        ).to(device_of(self._network))
        return _unit(self._network.get_text_features(**tokens).pooler_output)


def _unit(features: Tensor) -> Sequence[Tensor]:
    return nn.functional.normalize(features.float(), dim=-1).cpu().unbind()
