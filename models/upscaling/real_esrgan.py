"""Real-ESRGAN: learned upscaling of real photos.

Wang, Xie, Dong and Shan, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
Synthetic Data" (ICCV workshops 2021). The network comes from spandrel; what is done before and
after it follows the published program, but for two things: a tile that fails raises, and large
images are by default cut so that no seam shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.data.pixels import Image
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
from models.upscaling.tiling import Tile, hard_tiles, soft_tiles, whole

ARCHITECTURES = ("ESRGAN", "Compact")
# Above this many pixels an image is cut into tiles; 1 Mpx at x4 needs about 8 GB in float16.
WHOLE_PX = 1 << 20
TILE = 768
# With 32 neighbours a joint of a 23-block random network stays within one grey level of the uncut
# result even where hard cuts with 10 are 95 levels off; half as much again is for trained weights.
PAD = 48
FEATHER = 8
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class RealEsrganRequest:
    """An image to enlarge.

    ``image`` is HxW grey, HxWx3 RGB or HxWx4 RGB + alpha (not premultiplied), uint8 or uint16. A
    uint16 image whose largest value is 256 or less is taken as one of 8 bits and comes back as
    uint8, as the published program does. ``outscale`` is how many times as wide and high the result
    is (None: the network's own scale); another factor is reached by Lanczos resampling of the
    network's result. ``tile`` is the side of a tile in source pixels (0: uncut up to 1 Mpx, else
    chosen). ``seamless`` gives tiles enough surroundings and blends them; without it they are cut
    and pasted as the published program does, with ``tile_pad`` neighbouring pixels (0: whatever the
    size, uncut). ``pre_pad`` mirrors as many pixels at the right and the bottom before the network.
    ``alpha`` says whether the fourth channel goes through the network or is resampled (sharper, and
    half the work).

    Raises:
        ValueError: no such image, or a setting below its minimum.
    """

    image: Image
    outscale: float | None = None
    tile: int = 0
    tile_pad: int = 10
    pre_pad: int = 0
    alpha: Literal["network", "resize"] = "network"
    seamless: bool = True

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        channels = shape[2] if len(shape) == 3 else 1
        if len(shape) not in (2, 3) or channels not in (1, 3, 4) or shape[2:] == (1,) or 0 in shape:
            raise ValueError(f"image: shape {shape} can't be enlarged; give HxW, HxWx3 or HxWx4")
        if dtype not in (np.uint8, np.uint16):
            raise ValueError(f"image: {dtype} can't be enlarged; give uint8 or uint16")
        if self.outscale is not None and self.outscale <= 0:
            raise ValueError(f"outscale: {self.outscale} is not above 0")
        for name in ("tile", "tile_pad", "pre_pad"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0")

    @property
    def full_range(self) -> int:
        """The value of white: 255 or 65535."""
        return 65535 if self.image.dtype == np.uint16 and self.image.max() > 256 else 255

    @property
    def result_type(self) -> type[np.uint8] | type[np.uint16]:
        """The dtype of the enlarged image."""
        return np.uint16 if self.full_range == 65535 else np.uint8


class RealEsrgan:
    """A Real-ESRGAN network (RRDB or the compact one) of any whole scale."""

    def __init__(self, network: nn.Module, scale: int, machine: Machine) -> None:
        network = network.eval().requires_grad_(False).to(dtype=machine.dtype)
        to_device(network, machine.device)
        self.network = network
        self.scale = scale
        self.modules: tuple[nn.Module, ...] = (network,)
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "RealEsrgan":
        """From a folder with one weights file, as the Real-ESRGAN releases publish it.

        Raises:
            WrongCheckpointError: no such file, or one of another network.
        """
        from spandrel import ModelLoader

        (folder,) = folders
        tensors = read_tensors(folder)
        try:
            found = ModelLoader().load_from_state_dict(tensors)
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise WrongCheckpointError(
                f"{folder}: no Real-ESRGAN weights ({reason}); give RealESRGAN_x2plus or _x4plus"
            ) from error
        if found.architecture.id not in ARCHITECTURES or found.input_channels != 3:
            raise WrongCheckpointError(
                f"{folder}: weights of {found.architecture.id}; give RealESRGAN_x2plus or _x4plus"
            )
        return cls(found.model, found.scale, machine)

    def compute(self, requests: Sequence[RealEsrganRequest]) -> Iterator[Image | InvalidOutput]:
        """Enlarged images of the same kind and range, in order; equal sizes run together.

        A result's size is ``int(side * outscale)``. Cut with ``seamless`` it differs from the uncut
        one by at most one grey level of 8 bits.

        Raises:
            OutOfMemory: one image, or one tile, does not fit.
        """
        jobs = [_Job(request, self._planes(request)) for request in requests]
        pieces: dict[Any, list[_Piece]] = {}
        for job in jobs:
            for plane in job.planes:
                for tile in plane.tiles:
                    key = (tile.size, plane.full_range)
                    pieces.setdefault(key, []).append(_Piece(job, plane, tile))
        given = 0
        for group in pieces.values():
            results = run_batched(
                self._run, group, at_most=self._machine.batch, modules=self.modules
            )
            for piece, result in zip(group, results, strict=True):
                self._take(piece, result)
                while given < len(jobs) and jobs[given].result is not None:
                    finished, jobs[given].result = jobs[given].result, None
                    given += 1
                    assert finished is not None
                    yield finished

    def _planes(self, request: RealEsrganRequest) -> list["_Plane"]:
        image = request.image
        if image.ndim == 2:
            return [self._plane(image, request)]
        planes = [self._plane(image[..., :3], request)]
        if image.shape[2] == 4 and request.alpha == "network":
            planes.append(self._plane(image[..., 3], request))
        return planes

    def _plane(self, image: Image, request: RealEsrganRequest) -> "_Plane":
        multiple = {2: 2, 1: 4}.get(self.scale, 1)
        colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        padded = _mirror(colour, request.pre_pad, request.pre_pad)
        height, width = padded.shape[:2]
        padded = _mirror(padded, -height % multiple, -width % multiple)
        height, width = padded.shape[:2]
        tiles = whole(height, width)
        if request.seamless and (request.tile or height * width > WHOLE_PX):
            pad = max(PAD, request.tile_pad)
            tiles = soft_tiles(height, width, request.tile or TILE, pad, FEATHER, multiple)
        elif request.tile:
            tiles = hard_tiles(height, width, request.tile, request.tile_pad)
        return _Plane(padded, image.shape[:2], image.ndim == 2, request.full_range, tiles)

    def _run(self, batch: Sequence["_Piece"]) -> list[Tensor]:
        crops = [piece.crop() for piece in batch]
        stacked = torch.from_numpy(np.stack(crops)).to(device_of(self.network))
        pixels = stacked.permute(0, 3, 1, 2).float() / batch[0].plane.full_range
        pixels = pixels.to(dtype_of(self.network)).contiguous(
            memory_format=torch.channels_last
            if stacked.device.type == "cuda"
            else torch.contiguous_format
        )
        with torch.inference_mode():
            return list(self.network(pixels))

    def _take(self, piece: "_Piece", result: Tensor | InvalidOutput) -> None:
        job, plane = piece.job, piece.plane
        if isinstance(result, InvalidOutput):
            job.result = job.failure = result
            return
        if job.failure is not None:
            return
        with torch.inference_mode():
            plane.put(piece.tile, result, self.scale)
            if all(one.finished is not None for one in job.planes):
                job.result = self._image(job)

    def _image(self, job: "_Job") -> Image:
        request, colour = job.request, job.planes[0].finished
        assert colour is not None
        enlarged = _levels(colour, request)
        if request.image.ndim == 3 and request.image.shape[2] == 4:
            both: Any = np.dstack([enlarged, self._alpha(job)])
            enlarged = both
        for plane in job.planes:
            plane.finished = None
        if request.outscale is None or request.outscale == self.scale:
            return enlarged
        height, width = request.image.shape[:2]
        size = (max(1, int(width * request.outscale)), max(1, int(height * request.outscale)))
        resized: Any = cv2.resize(enlarged, size, interpolation=cv2.INTER_LANCZOS4)
        return resized  # type: ignore[no-any-return]

    def _alpha(self, job: "_Job") -> Image:
        request = job.request
        if request.alpha == "network":
            finished = job.planes[1].finished
            assert finished is not None
            return _levels(finished, request)
        share = request.image[..., 3].astype(np.float32) / request.full_range
        height, width = share.shape
        size = (width * self.scale, height * self.scale)
        large = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)
        levels: Any = np.rint(np.clip(large, 0, 1) * request.full_range)
        return levels.astype(request.result_type)  # type: ignore[no-any-return]


@dataclass(eq=False)
class _Plane:
    """Three channels that go through the network, and what has come out so far."""

    padded: npt.NDArray[Any]
    size: tuple[int, ...]
    grey: bool
    full_range: int
    tiles: list[Tile]
    canvas: Tensor | None = None
    done: int = 0
    finished: Tensor | None = None

    def put(self, tile: Tile, result: Tensor, scale: int) -> None:
        self.done += 1
        if len(self.tiles) == 1:
            self.canvas = result.float()
        else:
            if self.canvas is None:
                height, width = self.padded.shape[:2]
                self.canvas = result.new_zeros(
                    (3, height * scale, width * scale), dtype=torch.float32
                )
            tile.add_to(self.canvas, result, scale)
        if self.done == len(self.tiles):
            self.finished = self._finish(scale)
            self.canvas = None

    def _finish(self, scale: int) -> Tensor:
        assert self.canvas is not None
        height, width = self.size
        colour = self.canvas[:, : height * scale, : width * scale].clamp(0, 1)
        if not self.grey:
            return colour
        return (colour * colour.new_tensor(_GREY)[:, None, None]).sum(0, keepdim=True)


@dataclass(eq=False)
class _Job:
    request: RealEsrganRequest
    planes: list[_Plane]
    result: Image | InvalidOutput | None = None
    failure: InvalidOutput | None = field(default=None)


@dataclass(frozen=True, eq=False)
class _Piece:
    job: _Job
    plane: _Plane
    tile: Tile

    def crop(self) -> npt.NDArray[Any]:
        rows, columns = self.tile.rows, self.tile.columns
        crop = self.plane.padded[rows.start : rows.stop, columns.start : columns.stop]
        return crop if crop.dtype == np.uint8 else crop.astype(np.int32)


def _mirror(image: Any, bottom: int, right: int) -> Any:
    if not bottom and not right:
        return image
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")


def _levels(colour: Tensor, request: RealEsrganRequest) -> Image:
    """[C, H, W] in 0..1 as an array of the result's dtype and range, rounded on the device."""
    if request.result_type is np.uint8:
        return as_uint8(colour)
    levels = (colour * request.full_range).round().to(torch.int32)
    array = levels.permute(1, 2, 0).cpu().numpy().astype(np.uint16)
    return array[..., 0] if array.shape[2] == 1 else array
