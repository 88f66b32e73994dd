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
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly

Alpha = npt.NDArray[np.float32]
OUTSIDE, UNSURE, INSIDE = 0, 128, 255
# The network's memory grows with the square of the area; the photo is made smaller beyond this.
LONGEST_SIDE = 1024


@dataclass(frozen=True, eq=False)
class VitMatteRequest:
    """A photo, RGB uint8 HxWx3, and the matte (float32 HxW, 0..1) whose edge is to be decided anew.

    ``band`` is how far to both sides of the edge nothing is taken as sure, as a share of the
    object's size (the root of its area).
    """

    image: Pixels
    matte: Alpha
    band: float = 0.05


class VitMatte:
    """The network with its image processor."""

    def __init__(self, network: Any, processor: Any, machine: Machine) -> None:
        self.network = network
        self.modules: tuple[nn.Module, ...] = (network,)
        self._processor = processor
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "VitMatte":
        """From a folder in the layout of ``hustvl/vitmatte-small-composition-1k``.

        Raises:
            WrongCheckpointError: the folder has no weights, or those of another network.
        """
        from transformers import VitMatteForImageMatting, VitMatteImageProcessor

        (folder,) = folders
        processor = VitMatteImageProcessor.from_pretrained(folder, local_files_only=True)
        return cls(load_strictly(VitMatteForImageMatting, folder, machine), processor, machine)

    def compute(self, requests: Sequence[VitMatteRequest]) -> Iterator[Alpha | InvalidOutput]:
        """Mattes float32 HxW in 0..1, in order; equal sizes run together. Outside the band the
        result is 0 or 1.

        Raises:
            OutOfMemory: one photo does not fit.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        trimaps = [trimap_around(request.matte, request.band) for request in requests]
        for at, request in enumerate(requests):
            groups.setdefault(_working_size(request.image), []).append(at)
        found: dict[int, Alpha | InvalidOutput] = {}
        for (height, width), places in groups.items():
            group = [_at_size(requests[at].image, trimaps[at], height, width) for at in places]
            results = run_batched(
                self._run, group, at_most=self._machine.batch, modules=self.modules
            )
            for at, result in zip(places, results, strict=True):
                if not isinstance(result, InvalidOutput):
                    found[at] = _within(trimaps[at], result)
                else:
                    found[at] = result
        for at in range(len(requests)):
            yield found.pop(at)

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


def trimap_around(matte: Alpha, band: float) -> Pixels:
    """uint8 HxW: 255 surely object, 0 surely not, 128 within the band on both sides of the edge.

    ``band`` is a share of the root of the object's area. Parts thinner than the band keep a sure
    core, so that straps and stems are not lost.
    """
    inside = matte > 0.5
    reach = max(2.0, band * float(np.sqrt(inside.sum())))
    depth, away = _distance(inside), _distance(~inside)
    trimap = np.full(matte.shape, UNSURE, np.uint8)
    trimap[away > reach] = OUTSIDE
    trimap[depth > min(reach, 0.5 * float(depth.max()))] = INSIDE
    return trimap


def _distance(mask: npt.NDArray[np.bool_]) -> Alpha:
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3), np.float32)


def _working_size(image: Pixels) -> tuple[int, ...]:
    scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    return tuple(max(1, round(side * scale)) for side in image.shape[:2])


def _at_size(image: Pixels, trimap: Pixels, height: int, width: int) -> tuple[Pixels, Pixels]:
    colours = np.array(image[..., :3])  # a copy: images may be read-only
    if colours.shape[:2] == (height, width):
        return colours, trimap
    small = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
    known = cv2.resize(trimap, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(small, np.uint8), np.asarray(known, np.uint8)


def _within(trimap: Pixels, result: Tensor) -> Alpha:
    alpha = result.float().cpu().numpy()
    if alpha.shape != trimap.shape:
        alpha = cv2.resize(alpha, trimap.shape[::-1], interpolation=cv2.INTER_LINEAR)
    decided = np.where(trimap == UNSURE, np.clip(alpha, 0, 1), trimap == INSIDE)
    return np.asarray(decided, np.float32)
