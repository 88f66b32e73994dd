"""Masks of a prompted object by Segment Anything.

Kirillov et al., "Segment Anything" (ICCV 2023) and Ravi et al., "SAM 2: Segment Anything in Images
and Videos" (2024), through transformers' ``SamModel`` and ``Sam2Model``.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly
from models.segmentation.saliency import build_region_graph, find_object

Alpha = npt.NDArray[np.float32]
# Logits beyond this are certain; the sigmoid alone would leave a sure object see-through.
SURE = 2.0


@dataclass(frozen=True, eq=False)
class SamRequest:
    """A photo, RGB uint8 HxWx3 (a fourth channel is left out), and where its object is.

    ``box`` is (left, top, right, bottom) and ``points`` are (x, y, 1 on the object or 0 beside it),
    all in pixels of the photo; one of both at least. ``prior`` is a matte float32 HxW in 0..1 from
    elsewhere: of the network's three masks the one is taken whose predicted IoU plus IoU with the
    prior is largest.

    Raises:
        ValueError: there is neither a box nor a point.
    """

    image: Pixels
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    prior: Alpha | None = None

    def __post_init__(self) -> None:
        if self.box is None and not self.points:
            raise ValueError("box: Segment Anything needs a box or points; give one of them")


@dataclass(frozen=True, eq=False)
class SamMask:
    """``alpha`` is float32 HxW in 0..1; ``predicted_iou`` is the network's own estimate;
    ``agreement`` is the IoU with the prior (None without one).
    """

    alpha: Alpha
    predicted_iou: float
    agreement: float | None


class SegmentAnything:
    """The network with its image processor."""

    def __init__(self, network: Any, processor: Any, machine: Machine) -> None:
        self.network = network
        self.modules: tuple[nn.Module, ...] = (network,)
        self._processor = processor
        self._keeps_shape = network.config.model_type == "sam"
        self._machine = machine

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SegmentAnything":
        """From a folder in the layout of ``facebook/sam-vit-base`` or ``sam2.1-hiera-small``.

        Raises:
            WrongCheckpointError: the folder has no weights, or those of another network.
        """
        from transformers import (
            Sam2ImageProcessor,
            Sam2Model,
            Sam2Processor,
            SamImageProcessorPil,
            SamModel,
            SamProcessor,
        )

        (folder,) = folders
        if _model_type(folder).startswith("sam2"):
            network = load_strictly(Sam2Model, folder, machine)
            images = Sam2ImageProcessor.from_pretrained(folder, local_files_only=True)
            return cls(network, Sam2Processor(images), machine)
        network = load_strictly(SamModel, folder, machine)
        # The PIL backend resizes as the published program of the first SAM does.
        images = SamImageProcessorPil.from_pretrained(folder, local_files_only=True)
        return cls(network, SamProcessor(images), machine)

    def compute(self, requests: Sequence[SamRequest]) -> Iterator[SamMask | InvalidOutput]:
        """A mask per request, in order; photos of any size run together.

        Raises:
            OutOfMemory: one photo does not fit.
        """
        groups: dict[tuple[bool, int], list[int]] = {}
        for at, request in enumerate(requests):
            groups.setdefault((request.box is not None, len(request.points)), []).append(at)
        found: dict[int, SamMask | InvalidOutput] = {}
        for places in groups.values():
            group = [requests[at] for at in places]
            results = run_batched(
                self._run, group, at_most=self._machine.batch, modules=self.modules
            )
            for at, result in zip(places, results, strict=True):
                if not isinstance(result, InvalidOutput):
                    found[at] = self._choose(requests[at], result)
                else:
                    found[at] = result
        for at in range(len(requests)):
            yield found.pop(at)

    def _run(self, batch: Sequence[SamRequest]) -> list[Tensor]:
        """Per request its three masks of logits and, behind them, their three predicted IoUs."""
        prompts: dict[str, Any] = {}
        if batch[0].box is not None:
            prompts["input_boxes"] = [[list(one.box or ())] for one in batch]
        if batch[0].points:
            prompts["input_points"] = [[[[x, y] for x, y, _ in one.points]] for one in batch]
            prompts["input_labels"] = [[[label for *_, label in one.points]] for one in batch]
        images = [np.array(one.image[..., :3]) for one in batch]
        inputs = self._processor(images=images, return_tensors="pt", **prompts)
        device, dtype = device_of(self.network), dtype_of(self.network)
        tensors = {
            # Prompts stay in float32: float16 would shift a box by up to half a pixel.
            name: value.to(device, dtype if name == "pixel_values" else _prompt_dtype(value))
            for name, value in inputs.items()
            if name in ("pixel_values", *prompts)
        }
        with torch.inference_mode():
            made = self.network(**tensors, multimask_output=True)
            masks, scores = made.pred_masks[:, 0], made.iou_scores[:, 0]
            return list(torch.cat((masks.flatten(1), scores), dim=1))

    def _choose(self, request: SamRequest, packed: Tensor) -> SamMask | InvalidOutput:
        count = self.network.config.mask_decoder_config.num_multimask_outputs
        with torch.inference_mode():
            scores = packed[-count:].float().cpu()
            side = round(((len(packed) - count) / count) ** 0.5)
            low = packed[:-count].float().reshape(1, count, side, side)
            logits = self._at_full_size(low, request.image.shape[:2])
            shares = [None] * count if request.prior is None else _ious(logits, request.prior)
            merits = [float(scores[k]) + (shares[k] or 0.0) for k in range(count)]
            best = int(np.argmax(merits))
            alpha = (logits[best] / (2 * SURE) + 0.5).clamp(0, 1).cpu().numpy()
        if not (alpha > 0.5).any():
            return InvalidOutput("no object found (the mask is empty)")
        return SamMask(np.asarray(alpha, np.float32), float(scores[best]), shares[best])

    def _at_full_size(self, low: Tensor, size: tuple[int, ...]) -> Tensor:
        """Logits [3, H, W]. SAM's are enlarged to the network's square, cut to the photo's part and
        resized; SAM 2 has squeezed the photo into the square, so its are only resized.
        """
        if not self._keeps_shape:
            return F.interpolate(low, tuple(size), mode="bilinear", align_corners=False)[0]
        side = self._processor.target_size
        height, width = (int(one * side / max(size) + 0.5) for one in size)
        large = F.interpolate(low, (side, side), mode="bilinear", align_corners=False)
        photo = large[..., :height, :width]
        return F.interpolate(photo, tuple(size), mode="bilinear", align_corners=False)[0]


def _prompt_dtype(value: Tensor) -> torch.dtype:
    return torch.float32 if value.is_floating_point() else torch.int64


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongCheckpointError(
            f"{folder}: no config.json of a network; fetch it again"
        ) from error


def box_around(alpha: Alpha) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) in pixels of what a matte covers by more than a half; None where
    there is nothing.
    """
    rows = np.flatnonzero((alpha > 0.5).any(1))
    columns = np.flatnonzero((alpha > 0.5).any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def salient_mask(pixels: Pixels) -> Alpha:
    """float32 HxW, 1 where the most object-like regions of an RGB photo lie, else 0: coarse, good
    for a prompt only.

    Raises:
        NoObject: the photo is nearly uniform, or nothing stands out.
    """
    graph = build_region_graph(pixels)
    chosen, _ = find_object(graph)
    coarse = chosen[graph.labels].astype(np.float32)
    size = pixels.shape[1::-1]
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _ious(logits: Tensor, prior: Alpha) -> list[float | None]:
    known = torch.from_numpy(np.ascontiguousarray(prior)).to(logits.device) > 0.5
    found = logits > 0
    both = (found & known).flatten(1).sum(1)
    either = (found | known).flatten(1).sum(1).clamp(min=1)
    return [float(share) for share in (both / either).cpu()]
