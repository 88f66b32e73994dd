"""Relative depth by DPT (Ranftl et al., ICCV 2021) and by Depth Anything V2 (Yang et al., 2024).

Both predict inverse depth up to an unknown scale and shift per image, so that larger is nearer; it
is stretched to 0..1 per image here.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data.pixels import Pixels, rgb
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly

Depths = npt.NDArray[np.float32]

# The first fusion layer has nothing to fuse with: its first residual unit is built, never run, and
# left out of Intel's files (transformers#28292).
UNREAD = ("neck.fusion_stage.layers.0.residual_layer1.",)


@dataclass(frozen=True, eq=False)
class DepthRequest:
    """An image whose depth is wanted.

    Attributes:
        image: uint8 HxWx3 RGB, or HxWx4 RGB + matte, of which the matte is not read.
    """

    image: Pixels

    def __post_init__(self) -> None:
        image = self.image
        if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
            raise ValueError(
                f"DepthRequest.image is {image.dtype} {image.shape}; give uint8 HxWx3 RGB or HxWx4 "
                "RGB + matte"
            )
        if min(image.shape[:2]) < 2:
            raise ValueError(f"DepthRequest.image is {image.shape}; give at least 2x2 pixels")


class _DepthNetwork:
    """A depth network of transformers, with its image processor.

    The processor is the one with the torchvision backend, on the network's device. The PIL one, of
    the study's time, differs from it by up to one grey level before the network, which no depth map
    shows, and would resize one image after another on the CPU.
    """

    modules: tuple[nn.Module, ...]

    def __init__(self, network: Any, processor: Any, batch: int, **resizing: Any) -> None:
        self.modules = (network,)
        self._network = network
        self._processor = processor
        self._batch = batch
        self._resizing = {"size": processor.size, "resample": processor.resample, **resizing}

    def compute(self, requests: Sequence[DepthRequest]) -> Iterator[Depths | InvalidOutput]:
        """Depth maps in the order of the requests.

        Returns:
            Per image float32 HxW at its own size, exactly 0 (farthest) .. 1 (nearest);
            `InvalidOutput`
            where the network gives the same value everywhere, or no finite one.
        """
        sizes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for at, request in enumerate(requests):
            sizes[request.image.shape[:2]].append(at)
        results: dict[int, Depths | InvalidOutput] = {}
        for places in sizes.values():
            images = [rgb(requests[at].image) for at in places]
            found = run_batched(self._run, images, at_most=self._batch, modules=self.modules)
            results.update(zip(places, map(_stretch, found), strict=True))
        yield from (results[at] for at in range(len(requests)))

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels]) -> list[Tensor]:
        """float32 [H, W] per image of one size, as the network scales it."""
        device, dtype = device_of(self._network), dtype_of(self._network)
        stacked = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
        near = self._network(self._prepared(stacked).to(dtype)).predicted_depth
        size = images[0].shape[:2]
        resized = functional.interpolate(
            near[:, None].float(), size=size, mode="bicubic", align_corners=False
        )
        return list(resized[:, 0])

    def _prepared(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] as the network reads them, by the processor's own steps. Its call
        would check all its settings anew, which takes longer than both.
        """
        its = self._processor
        resized = its.resize(images.contiguous(), **self._resizing)
        levels: Tensor = its.rescale_and_normalize(
            resized, True, its.rescale_factor, True, its.image_mean, its.image_std
        )
        return levels


class Dpt(_DepthNetwork):
    """DPT of Intel: ``Intel/dpt-large`` or ``Intel/dpt-hybrid-midas``.

    It was trained on squares and takes nothing else (transformers reads the number of tokens as a
    square), so an image is squeezed to a square, and its depth stretched back.
    """

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Dpt":
        """The network of one folder.

        Raises:
            WrongCheckpointError: the folder holds other weights.
        """
        from transformers import DPTForDepthEstimation, DPTImageProcessor
        from transformers.image_utils import SizeDict

        (folder,) = folders
        network = load_strictly(DPTForDepthEstimation, folder, machine, unread=UNREAD)
        processor = DPTImageProcessor.from_pretrained(folder, local_files_only=True)
        side = network.config.image_size
        square = SizeDict(height=side, width=side)
        return cls(network, processor, machine.batch, size=square, keep_aspect_ratio=False)


class DepthAnything(_DepthNetwork):
    """Depth Anything V2: ``depth-anything/Depth-Anything-V2-Small-hf``, the Apache-2.0 one.

    It keeps the image's aspect, at multiples of its 14 px patches.
    """

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "DepthAnything":
        """The network of one folder.

        Raises:
            WrongCheckpointError: the folder holds other weights.
        """
        from transformers import DepthAnythingForDepthEstimation, DPTImageProcessor

        (folder,) = folders
        network = load_strictly(DepthAnythingForDepthEstimation, folder, machine, unread=UNREAD)
        processor = DPTImageProcessor.from_pretrained(folder, local_files_only=True)
        patch = network.config.patch_size
        return cls(
            network, processor, machine.batch, keep_aspect_ratio=True, ensure_multiple_of=patch
        )


def _stretch(near: Tensor | InvalidOutput) -> Depths | InvalidOutput:
    if isinstance(near, InvalidOutput):
        return near
    low, high = near.min(), near.max()
    # Below this, all that is left is rounding: the network takes the image for one flat wall.
    if float(high - low) <= 1e-5 * max(1.0, float(high.abs())):
        return InvalidOutput(
            "the depth network sees no depth: it gives one value for the whole image"
        )
    return np.asarray(((near - low) / (high - low)).cpu().numpy(), np.float32)
