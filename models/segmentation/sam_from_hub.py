"""Segment Anything 1 and 2 in transformers' layout, as the hub has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.runtime.batching import device_of, dtype_of
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly, read_json


class SamFromHub:
    """transformers' ``SamModel`` or ``Sam2Model`` with its image processor.

    Attributes:
        network: the network.
        padded_side: side of the square that photos are padded to, px; None: they are squeezed.
    """

    def __init__(self, network: Any, processor: Any) -> None:
        self.network, self._processor = network, processor
        keeps_shape = network.config.model_type == "sam"
        self.padded_side: int | None = processor.target_size if keeps_shape else None

    @classmethod
    def load(cls, folder: Path, machine: Machine) -> "SamFromHub":
        """Load a folder in the layout of ``facebook/sam-vit-base`` or ``sam2.1-hiera-small``.

        Raises:
            WrongCheckpointError: the folder holds something else.
        """
        from transformers import (
            Sam2ImageProcessor,
            Sam2Model,
            Sam2Processor,
            SamImageProcessorPil,
            SamModel,
            SamProcessor,
        )

        if str(read_json(folder / "config.json").get("model_type")).startswith("sam2"):
            network = load_strictly(Sam2Model, folder, machine)
            images = Sam2ImageProcessor.from_pretrained(folder, local_files_only=True)
            return cls(network, Sam2Processor(images))
        network = load_strictly(SamModel, folder, machine)
        # The PIL backend resizes as the published program of the first SAM does.
        images = SamImageProcessorPil.from_pretrained(folder, local_files_only=True)
        return cls(network, SamProcessor(images))

    def predict(
        self, images: Sequence[Pixels], boxes: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor]:
        """Logits of three masks per image, [B, 3, S, S], and their predicted IoUs, [B, 3]."""
        inputs = self._processor(
            images=[np.array(image) for image in images],
            input_boxes=[[list(box)] for box in boxes],
            return_tensors="pt",
        )
        device, dtype = device_of(self.network), dtype_of(self.network)
        outputs = self.network(
            pixel_values=inputs["pixel_values"].to(device, dtype),
            # The box stays in float32: float16 would shift it by up to half a pixel.
            input_boxes=inputs["input_boxes"].to(device, torch.float32),
            multimask_output=True,
        )
        return outputs.pred_masks[:, 0], outputs.iou_scores[:, 0]
