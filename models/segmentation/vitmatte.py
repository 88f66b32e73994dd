"""Soft edges of a mask by ViTMatte.

Yao, Wang, Yang and Wang, "ViTMatte: Boosting Image Matting with Pre-trained Plain Vision
Transformers" (Information Fusion 2024), through transformers' ``VitMatteForImageMatting``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.data.pixels import Alpha, Pixels
from models.runtime.batching import (
    InvalidOutput,
    compute_in_groups,
    device_of,
    dtype_of,
    run_batched,
)
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly
from models.segmentation.masks import INSIDE, UNSURE, trimap_around

# The network's memory grows with the square of the area, so larger photos are scaled down.
LONGEST_SIDE = 1024


@dataclass(frozen=True, eq=False)
class VitMatteRequest:
    """A photo and an alpha whose edge is to be refined.

    Attributes:
        image: RGB uint8 HxWx3.
        alpha: float32 HxW, 0..1.
        band: width of the undecided band on each side of the edge, as a share of the root of the
            object's area.
    """

    image: Pixels
    alpha: Alpha
    band: float = 0.05


class VitMatte:
    """ViTMatte with its image processor."""

    def __init__(self, network: Any, processor: Any, machine: Machine) -> None:
        self.network = network
        self.modules: tuple[nn.Module, ...] = (network,)
        self._processor = processor
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "VitMatte":
        """Load from a folder in the layout of ``hustvl/vitmatte-small-composition-1k``."""
        from transformers import VitMatteForImageMatting, VitMatteImageProcessor

        (folder,) = folders
        processor = VitMatteImageProcessor.from_pretrained(folder, local_files_only=True)
        return cls(load_strictly(VitMatteForImageMatting, folder, machine), processor, machine)

    def compute(self, requests: Sequence[VitMatteRequest]) -> Iterator[Alpha | InvalidOutput]:
        """Yield alphas, float32 HxW in 0..1, in the order of the requests.

        Outside the band the result is 0 or 1. Photos of equal size share batches.
        """
        trimaps = [trimap_around(request.alpha > 0.5, request.band) for request in requests]

        def compute(size: tuple[int, int], indices: list[int]) -> Iterator[Alpha | InvalidOutput]:
            group = [_resize(requests[index].image, trimaps[index], *size) for index in indices]
            at_most = self._machine.batch
            results = run_batched(self._run, group, at_most=at_most, modules=self.modules)
            for index, result in zip(indices, results, strict=True):
                if isinstance(result, InvalidOutput):
                    yield result
                else:
                    yield _apply_band(trimaps[index], result)

        sizes = [_working_size(request.image) for request in requests]
        yield from compute_in_groups(sizes, compute)

    def _run(self, batch: Sequence[tuple[Pixels, Pixels]]) -> list[Tensor]:
        inputs = self._processor(
            images=[image for image, _ in batch],
            trimaps=[trimap for _, trimap in batch],
            return_tensors="pt",
        )
        pixels = inputs["pixel_values"].to(device_of(self.network), dtype_of(self.network))
        height, width = batch[0][0].shape[:2]
        with torch.inference_mode():
            return list(self.network(pixels).alphas[:, 0, :height, :width])


def _working_size(image: Pixels) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(image: Pixels, trimap: Pixels, height: int, width: int) -> tuple[Pixels, Pixels]:
    colours = np.array(image[..., :3])  # a copy: images may be read-only
    if colours.shape[:2] == (height, width):
        return colours, trimap
    small = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
    known = cv2.resize(trimap, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(small, np.uint8), np.asarray(known, np.uint8)


def _apply_band(trimap: Pixels, result: Tensor) -> Alpha:
    alpha = result.float().cpu().numpy()
    if alpha.shape != trimap.shape:
        alpha = cv2.resize(alpha, trimap.shape[::-1], interpolation=cv2.INTER_LINEAR)
    decided = np.where(trimap == UNSURE, np.clip(alpha, 0, 1), trimap == INSIDE)
    return np.asarray(decided, np.float32)
