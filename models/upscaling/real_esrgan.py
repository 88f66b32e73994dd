"""Real-ESRGAN: learned upscaling of photos.

Wang, Xie, Dong and Shan, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
Synthetic Data" (ICCV workshops 2021). The network comes from spandrel. Padding, clamping and
resampling follow the published program. Two things differ: a tile that fails raises an error, and
large images are cut into blended tiles without visible seams.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    device_of,
    dtype_of,
    run_batched,
    to_device,
)
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, read_tensors
from models.upscaling.tiling import Tile, blended_tiles, whole_image

ARCHITECTURES = ("ESRGAN", "Compact")
# Images above this many pixels are cut into tiles; 1 Mpx at x4 needs about 8 GB in float16.
MAX_UNCUT_PIXELS = 1 << 20
TILE = 768
# With 32 pixels a joint of a random 23-block network is within one grey level of the uncut result.
# Trained weights get half as much again.
PAD = 48
FEATHER = 8


@dataclass(frozen=True, eq=False)
class RealEsrganRequest:
    """An image to enlarge.

    Attributes:
        image: uint8 HxWx3 RGB or HxWx4 RGBA (not premultiplied). Alpha is resampled and does not
            go through the network.
        factor: target size over source size. The network's result is resampled where its own scale
            differs; None keeps the network's scale.
        tile: side of a tile in source pixels; 0 cuts only images above 1 Mpx.

    Raises:
        ValueError: the image has another shape or dtype, or a setting is below its minimum.
    """

    image: Pixels
    factor: float | None = None
    tile: int = 0

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        if len(shape) != 3 or shape[2] not in (3, 4) or 0 in shape:
            raise ValueError(f"image: shape {shape} can't be enlarged; give HxWx3 or HxWx4")
        if dtype != np.uint8:
            raise ValueError(f"image: dtype {dtype} can't be enlarged; give uint8")
        if self.factor is not None and self.factor <= 0:
            raise ValueError(f"factor: {self.factor} is not above 0; give 1 or more")
        if self.tile < 0:
            raise ValueError(f"tile: {self.tile} is below 0; give 0 or a side in pixels")


class RealEsrgan:
    """A Real-ESRGAN network (RRDB or compact) of any whole scale."""

    def __init__(self, network: nn.Module, scale: int, machine: Machine) -> None:
        network = network.eval().requires_grad_(False).to(dtype=machine.dtype)
        to_device(network, machine.device)
        self.network = network
        self.scale = scale
        self.modules: tuple[nn.Module, ...] = (network,)
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "RealEsrgan":
        """Load the network from a folder with one weights file of a Real-ESRGAN release.

        Raises:
            WrongCheckpointError: the file is missing or belongs to another network.
        """
        from spandrel import ModelLoader

        (folder,) = folders
        tensors = read_tensors(folder)
        try:
            model = ModelLoader().load_from_state_dict(tensors)
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise WrongCheckpointError(
                f"{folder}: no Real-ESRGAN weights ({reason}); give RealESRGAN_x2plus or _x4plus"
            ) from error
        if model.architecture.id not in ARCHITECTURES or model.input_channels != 3:
            raise WrongCheckpointError(
                f"{folder}: weights of {model.architecture.id}; give RealESRGAN_x2plus or _x4plus"
            )
        return cls(model.model, model.scale, machine)

    def compute(self, requests: Sequence[RealEsrganRequest]) -> Iterator[Pixels | InvalidOutput]:
        """Yield the enlarged images, uint8, in the order of the requests.

        A result's sides are ``int(side * factor)``. Tiles of equal size share batches. A tiled
        result differs from the uncut one by at most one grey level.

        Raises:
            OutOfMemoryError: one image or tile does not fit.
        """
        jobs = [self._job(request) for request in requests]
        groups: dict[tuple[int, int], list[tuple[_Job, Tile]]] = defaultdict(list)
        for job in jobs:
            for tile in job.tiles:
                groups[tile.size].append((job, tile))
        n_yielded = 0
        for group in groups.values():
            results = run_batched(
                self._run, group, at_most=self._machine.batch, modules=self.modules
            )
            for (job, tile), result in zip(group, results, strict=True):
                self._add_tile(job, tile, result)
                while n_yielded < len(jobs) and (image := jobs[n_yielded].result) is not None:
                    jobs[n_yielded].result = None
                    n_yielded += 1
                    yield image

    def _job(self, request: RealEsrganRequest) -> "_Job":
        """Pad the image as the published program does, and choose its tiles."""
        multiple = {2: 2, 1: 4}.get(self.scale, 1)
        height, width = request.image.shape[:2]
        padding = ((0, -height % multiple), (0, -width % multiple), (0, 0))
        padded = np.pad(request.image[..., :3], padding, mode="reflect")
        height, width = padded.shape[:2]
        if request.tile or height * width > MAX_UNCUT_PIXELS:
            tiles = blended_tiles(height, width, request.tile or TILE, PAD, FEATHER, multiple)
        else:
            tiles = whole_image(height, width)
        return _Job(request, padded, tiles)

    def _run(self, batch: Sequence[tuple["_Job", Tile]]) -> list[Tensor]:
        crops = np.stack([job.crop(tile) for job, tile in batch])
        stacked = torch.from_numpy(crops).to(device_of(self.network))
        pixels = stacked.permute(0, 3, 1, 2).float() / 255
        is_cuda = stacked.device.type == "cuda"
        layout = torch.channels_last if is_cuda else torch.contiguous_format
        pixels = pixels.to(dtype_of(self.network)).contiguous(memory_format=layout)
        with torch.inference_mode():
            return list(self.network(pixels))

    def _add_tile(self, job: "_Job", tile: Tile, result: Tensor | InvalidOutput) -> None:
        if isinstance(result, InvalidOutput):
            job.result, job.is_invalid = result, True
        elif not job.is_invalid:
            with torch.inference_mode():
                job.add(tile, result, self.scale)
                if job.n_added == len(job.tiles):
                    job.result = self._finish(job)

    def _finish(self, job: "_Job") -> Pixels:
        assert job.canvas is not None
        image, factor = job.request.image, job.request.factor
        height, width = image.shape[:2]
        size = (width * self.scale, height * self.scale)
        colour = job.canvas[:, : size[1], : size[0]].clamp(0, 1)
        job.canvas = None
        enlarged = as_uint8(colour)
        if image.shape[2] == 4:
            enlarged = np.dstack([enlarged, _resize_alpha(image[..., 3], size)])
        if factor is None or factor == self.scale:
            return enlarged
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        return np.asarray(cv2.resize(enlarged, size, interpolation=cv2.INTER_LANCZOS4), np.uint8)


@dataclass(eq=False)
class _Job:
    """A request, its padded colours and the sum of its tiles so far."""

    request: RealEsrganRequest
    padded: Pixels
    tiles: list[Tile]
    canvas: Tensor | None = None
    n_added: int = 0
    is_invalid: bool = False
    result: Pixels | InvalidOutput | None = None

    def crop(self, tile: Tile) -> Pixels:
        rows, columns = tile.rows, tile.columns
        return self.padded[rows.start : rows.stop, columns.start : columns.stop]

    def add(self, tile: Tile, result: Tensor, scale: int) -> None:
        self.n_added += 1
        if len(self.tiles) == 1:
            self.canvas = result.float()
            return
        if self.canvas is None:
            height, width = self.padded.shape[:2]
            shape = (3, height * scale, width * scale)
            self.canvas = result.new_zeros(shape, dtype=torch.float32)
        tile.add_to(self.canvas, result, scale)


def _resize_alpha(alpha: Pixels, size: tuple[int, int]) -> Pixels:
    fraction = alpha.astype(np.float32) / 255
    resized = cv2.resize(fraction, size, interpolation=cv2.INTER_LINEAR)
    return np.rint(np.clip(resized, 0, 1) * 255).astype(np.uint8)
