"""Masks of a prompted object by Segment Anything.

Kirillov et al., "Segment Anything" (ICCV 2023) and Ravi et al., "SAM 2: Segment Anything in Images
and Videos" (2024).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch import Tensor, nn

from models.data.pixels import Alpha, Pixels
from models.runtime.batching import InvalidOutput, run_batched
from models.runtime.hardware import Machine
from models.segmentation.saliency import NoObjectError, build_region_graph, find_object
from models.segmentation.sam_from_file import SamFromFile
from models.segmentation.sam_from_hub import SamFromHub

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the photo
# Logits beyond this are certain; with the sigmoid alone, a certain object would be translucent.
CERTAIN_LOGIT = 2.0
# Masks that the network gives for a box.
MASKS = 3


@dataclass(frozen=True, eq=False)
class SamRequest:
    """A photo and the box of its object.

    Attributes:
        image: RGB uint8 HxWx3; a fourth channel is ignored.
        box: around the object.
        previous_mask: alpha float32 HxW in 0..1 from an earlier step. It decides which of the
            network's three masks is taken: the one with the largest sum of predicted IoU and IoU
            with this alpha.
    """

    image: Pixels
    box: Box
    previous_mask: Alpha | None = None


@dataclass(frozen=True, eq=False)
class SamMask:
    """The network's mask.

    Attributes:
        alpha: float32 HxW in 0..1.
        predicted_iou: the network's own estimate of its IoU.
        agreement: IoU with the previous mask; None without one.
    """

    alpha: Alpha
    predicted_iou: float
    agreement: float | None


class SegmentAnything:
    """Segment Anything 1 or 2.

    Args:
        program: the network with what prepares its inputs.
        machine: gives the batch size.
    """

    def __init__(self, program: SamFromHub | SamFromFile, machine: Machine) -> None:
        self._program, self._machine = program, machine
        self.modules: tuple[nn.Module, ...] = (program.network,)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SegmentAnything":
        """Load a folder of the hub, with its ``config.json``, or one with the authors' file alone.

        Raises:
            WrongCheckpointError: the folder holds something else.
        """
        (folder,) = folders
        kind = SamFromHub if (folder / "config.json").is_file() else SamFromFile
        return cls(kind.load(folder, machine), machine)

    def compute(self, requests: Sequence[SamRequest]) -> Iterator[SamMask | InvalidOutput]:
        """Yield one mask per request, in order; photos of any size share batches."""
        results = run_batched(
            self._run, requests, at_most=self._machine.batch, modules=self.modules
        )
        for request, result in zip(requests, results, strict=True):
            yield result if isinstance(result, InvalidOutput) else self._choose(request, result)

    def _run(self, batch: Sequence[SamRequest]) -> list[Tensor]:
        """Return per request the logits of its three masks, followed by their predicted IoUs."""
        with torch.inference_mode():
            masks, scores = self._program.predict(
                [request.image[..., :3] for request in batch], [request.box for request in batch]
            )
            return list(torch.cat((masks.flatten(1), scores), dim=1))

    def _choose(self, request: SamRequest, packed: Tensor) -> SamMask | InvalidOutput:
        with torch.inference_mode():
            scores = packed[-MASKS:].float().cpu()
            side = round(((len(packed) - MASKS) / MASKS) ** 0.5)
            low = packed[:-MASKS].float().reshape(1, MASKS, side, side)
            logits = self._resize_logits(low, request.image.shape[:2])
            previous = request.previous_mask
            ious = [None] * MASKS if previous is None else _ious(logits, previous)
            totals = [float(scores[k]) + (ious[k] or 0.0) for k in range(MASKS)]
            best = int(np.argmax(totals))
            alpha = (logits[best] / (2 * CERTAIN_LOGIT) + 0.5).clamp(0, 1).cpu().numpy()
        if not (alpha > 0.5).any():
            return InvalidOutput("no object found (the mask is empty)")
        return SamMask(np.asarray(alpha, np.float32), float(scores[best]), ious[best])

    def _resize_logits(self, low: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return logits [3, H, W] at the photo's size.

        SAM pads the photo to a square, so its logits are enlarged, cut to the photo's part and
        resized. SAM 2 squeezes the photo into the square, so its logits are only resized.
        """
        side = self._program.padded_side
        if side is None:
            return F.interpolate(low, tuple(size), mode="bilinear", align_corners=False)[0]
        height, width = (int(length * side / max(size) + 0.5) for length in size)
        large = F.interpolate(low, (side, side), mode="bilinear", align_corners=False)
        photo = large[..., :height, :width]
        return F.interpolate(photo, tuple(size), mode="bilinear", align_corners=False)[0]


def box_around(alpha: Alpha) -> Box:
    """Return the box of the pixels whose alpha exceeds 0.5.

    Raises:
        NoObjectError: there are none.
    """
    x, y, width, height = cv2.boundingRect((alpha > 0.5).astype(np.uint8))
    if width == 0:
        raise NoObjectError("no object found: the mask is empty")
    return float(x), float(y), float(x + width), float(y + height)


def salient_mask(pixels: Pixels) -> Alpha:
    """Return float32 HxW, 1 on the most object-like regions of an RGB photo, else 0.

    The mask is coarse: use it only as a prompt.

    Raises:
        NoObjectError: the photo is nearly uniform, or nothing stands out.
    """
    graph = build_region_graph(pixels)
    chosen, _ = find_object(graph)
    coarse = chosen[graph.labels].astype(np.float32)
    size = pixels.shape[1::-1]
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _ious(logits: Tensor, alpha: Alpha) -> list[float | None]:
    known = torch.from_numpy(np.ascontiguousarray(alpha)).to(logits.device) > 0.5
    predicted = logits > 0
    intersection = (predicted & known).flatten(1).sum(1)
    union = (predicted | known).flatten(1).sum(1).clamp(min=1)
    return [float(iou) for iou in (intersection / union).cpu()]
