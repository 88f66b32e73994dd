"""Relative depth by DPT (Ranftl et al., ICCV 2021) and by Depth Anything V2 (Yang et al., 2024).

Both predict inverse depth up to an unknown scale and shift, so larger is nearer. It is stretched to
0..1 per image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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

# The first fusion layer has no second input. Its first residual unit is built but never run, and
# missing from Intel's files (transformers#28292).
UNREAD = ("neck.fusion_stage.layers.0.residual_layer1.",)


@dataclass(frozen=True, eq=False)
class DepthRequest:
    """An image whose depth is estimated.

    Attributes:
        image: uint8 HxWx3 RGB, or HxWx4 RGBA, whose alpha is ignored.
    """

    image: Pixels

    def __post_init__(self) -> None:
        require_image(self.image, "DepthRequest.image")
        if min(self.image.shape[:2]) < 2:
            raise ValueError(f"DepthRequest.image is {self.image.shape}; give at least 2x2 pixels")


class _DepthNetwork:
    """A depth network of transformers, with its image processor.

    The processor has the torchvision backend and runs on the network's device. The PIL backend
    would resize image by image on the CPU. Its pixels differ by up to one grey level, which no
    depth map shows.
    """

    modules: tuple[nn.Module, ...]

    def __init__(self, network: Any, processor: Any, batch: int, **resizing: Any) -> None:
        self.modules = (network,)
        self._network = network
        self._processor = processor
        self._batch = batch
        self._resizing = {"size": processor.size, "resample": processor.resample, **resizing}

    def compute(self, requests: Sequence[DepthRequest]) -> Iterator[Floats | InvalidOutput]:
        """Yield depth maps in the order of the requests.

        A map is float32 HxW at the image's size, from exactly 0 (farthest) to 1 (nearest). It is
        `InvalidOutput` if the network's values are all equal or not finite.
        """

        def compute(_: tuple[int, ...], indices: list[int]) -> Iterator[Floats | InvalidOutput]:
            images = [rgb(requests[index].image) for index in indices]
            results = run_batched(self._run, images, at_most=self._batch, modules=self.modules)
            return map(_stretch, results)

        yield from compute_in_groups([request.image.shape[:2] for request in requests], compute)

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels]) -> list[Tensor]:
        """Return float32 [H, W] per image of one size, in the network's own scale."""
        device, dtype = device_of(self._network), dtype_of(self._network)
        stacked = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
        depth = self._network(self._prepare(stacked).to(dtype)).predicted_depth
        size = images[0].shape[:2]
        resized = functional.interpolate(
            depth[:, None].float(), size=size, mode="bicubic", align_corners=False
        )
        return list(resized[:, 0])

    def _prepare(self, images: Tensor) -> Tensor:
        """Resize and normalise uint8 [B, 3, H, W] by the processor's own two steps.

        Calling the processor would validate all its settings, which takes longer than both steps.
        """
        processor = self._processor
        resized = processor.resize(images.contiguous(), **self._resizing)
        normalised: Tensor = processor.rescale_and_normalize(
            resized, True, processor.rescale_factor, True, processor.image_mean, processor.image_std
        )
        return normalised


class Dpt(_DepthNetwork):
    """DPT: ``Intel/dpt-large`` or ``Intel/dpt-hybrid-midas``.

    The network reads only squares, so an image is squeezed to a square and its depth is stretched
    back.
    """

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Dpt":
        """Load the network from one folder."""
        from transformers import DPTForDepthEstimation, DPTImageProcessor
        from transformers.image_utils import SizeDict

        (folder,) = folders
        network = load_strictly(DPTForDepthEstimation, folder, machine, unread=UNREAD)
        processor = DPTImageProcessor.from_pretrained(folder, local_files_only=True)
        side = network.config.image_size
        square = SizeDict(height=side, width=side)
        return cls(network, processor, machine.batch, size=square, keep_aspect_ratio=False)


class DepthAnything(_DepthNetwork):
    """Depth Anything V2: ``depth-anything/Depth-Anything-V2-Small-hf`` (Apache-2.0).

    It keeps the image's aspect ratio, at multiples of its 14 px patches.
    """

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "DepthAnything":
        """Load the network from one folder."""
        from transformers import DepthAnythingForDepthEstimation, DPTImageProcessor

        (folder,) = folders
        network = load_strictly(DepthAnythingForDepthEstimation, folder, machine, unread=UNREAD)
        processor = DPTImageProcessor.from_pretrained(folder, local_files_only=True)
        patch = network.config.patch_size
        return cls(
            network, processor, machine.batch, keep_aspect_ratio=True, ensure_multiple_of=patch
        )


def _stretch(depth: Tensor | InvalidOutput) -> Floats | InvalidOutput:
    if isinstance(depth, InvalidOutput):
        return depth
    low, high = depth.min(), depth.max()
    # Smaller differences are rounding errors: the network sees one flat wall.
    if float(high - low) <= 1e-5 * max(1.0, float(high.abs())):
        return InvalidOutput("the depth network sees no depth: all its values are equal")
    return np.asarray(((depth - low) / (high - low)).cpu().numpy(), np.float32)
