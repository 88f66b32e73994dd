"""Masks of the salient object by IS-Net, with the published pre- and post-processing.

The network is in `models.segmentation.isnet_network`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch import Tensor, nn

from models.data.pixels import Alpha, Pixels
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched, to_device
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, fill, read_tensors
from models.segmentation.isnet_network import IsNet

FILE = "isnet-general-use"
SIDE = 1024
# A map with less contrast than one grey level is uniform.
MIN_CONTRAST = 1 / 255


@dataclass(frozen=True, eq=False)
class IsnetRequest:
    """A photo in which to find the salient object.

    Attributes:
        image: RGB uint8 HxWx3; a fourth channel is ignored.
        min_peak: least maximum of the network's map, 0..1. The published program has no such bound
            and returns white pixels even for a photo without an object.
    """

    image: Pixels
    min_peak: float = 0.0


class Isnet:
    """IS-Net with its published pre- and post-processing."""

    def __init__(self, network: IsNet, side: int, machine: Machine) -> None:
        network = network.eval().requires_grad_(False).to(dtype=machine.dtype)
        to_device(network, machine.device)
        self.network = network
        self.side = side
        self.modules: tuple[nn.Module, ...] = (network,)
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Isnet":
        """Load the network from a folder with ``isnet-general-use.safetensors`` or ``.pth``.

        A ``config.json`` in the folder may give ``width_divisor`` and ``side`` (px) of a smaller
        network.
        """
        (folder,) = folders
        divisor, side = _read_config(folder / "config.json")
        network = IsNet(divisor)
        fill(network, read_tensors(folder, FILE), folder)
        return cls(network, side, machine)

    def compute(self, requests: Sequence[IsnetRequest]) -> Iterator[Alpha | InvalidOutput]:
        """Yield alphas, float32 HxW in 0..1 in steps of 1/255, in the order of the requests.

        A map without contrast, or whose maximum is below ``min_peak``, is `InvalidOutput`.
        """
        results = run_batched(
            self._run, requests, at_most=self._machine.batch, modules=self.modules
        )
        for request, result in zip(requests, results, strict=True):
            yield (
                result if isinstance(result, InvalidOutput) else _stretch(result, request.min_peak)
            )

    def _run(self, batch: Sequence[IsnetRequest]) -> list[Tensor]:
        with torch.inference_mode():
            pixels = torch.cat([self._prepare(request.image) for request in batch])
            maps = self.network.finest(pixels.to(dtype_of(self.network))).float()
            return [
                _resize(image_map[None], request.image.shape[:2])[0, 0]
                for image_map, request in zip(maps, batch, strict=True)
            ]

    def _prepare(self, image: Pixels) -> Tensor:
        """Return [1, 3, side, side] in -0.5..0.5; resized levels are truncated, not rounded."""
        colours = torch.from_numpy(np.array(image[..., :3]))  # a copy: images may be read-only
        moved = colours.to(device_of(self.network)).permute(2, 0, 1)[None].float()
        levels = _resize(moved, (self.side, self.side)).to(torch.uint8)
        return levels.float() / 255.0 - 0.5


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)


def _stretch(salience: Tensor, min_peak: float) -> Alpha | InvalidOutput:
    """Stretch a map to the full range, in whole levels (truncated, as published)."""
    with torch.inference_mode():
        low, high = salience.min(), salience.max()
        if float(high - low) < MIN_CONTRAST or float(high) < min_peak:
            return InvalidOutput(
                f"no object found (the network's highest value is {float(high):.2f})"
            )
        levels = ((salience - low) / (high - low) * 255).to(torch.uint8).cpu().numpy()
    return np.asarray(levels / np.float32(255), np.float32)


def _read_config(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return 1, SIDE
    try:
        content = json.loads(path.read_text())
        divisor, side = int(content.get("width_divisor", 1)), int(content.get("side", SIDE))
    except (ValueError, AttributeError, TypeError) as error:
        raise WrongCheckpointError(
            f"{path}: not the settings of an IS-Net; delete the file"
        ) from error
    if divisor not in (1, 2, 4, 8, 16) or side < 32:
        raise WrongCheckpointError(
            f"{path}: width_divisor {divisor} and side {side} are not possible; "
            "give 1, 2, 4, 8 or 16 and 32 or more"
        )
    return divisor, side
