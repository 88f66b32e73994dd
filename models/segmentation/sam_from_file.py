"""Segment Anything in the file that its authors publish, through their package segment-anything.

Its text and its weights are under Apache-2.0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.runtime.batching import device_of, dtype_of
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, fill, read_tensors

# The package's name of a network, by the width of its image encoder.
SIZES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
# A weight that has that width.
WIDTH_OF = "image_encoder.pos_embed"


class SamFromFile:
    """The package's ``Sam``.

    Attributes:
        network: the network. Its image encoder may be in half precision, all else is in full.
        padded_side: side of the square that photos are padded to, px.
    """

    def __init__(self, network: Any) -> None:
        from segment_anything.utils.transforms import ResizeLongestSide

        self.network = network
        self.padded_side: int = network.image_encoder.img_size
        self._transform = ResizeLongestSide(self.padded_side)

    @classmethod
    def load(cls, folder: Path, machine: Machine) -> "SamFromFile":
        """Load the one weights file of a folder, with the keys of ``sam_vit_b_01ec64.pth``.

        Raises:
            WrongCheckpointError: the file holds another network, or the package is not installed.
        """
        tensors = read_tensors(folder)
        name = SIZES.get(tensors[WIDTH_OF].shape[-1]) if WIDTH_OF in tensors else None
        if name is None:
            raise WrongCheckpointError(
                f"{folder}: no weights of Segment Anything with the authors' keys (no {WIDTH_OF} "
                f"of width {', '.join(map(str, SIZES))}); fetch sam_vit_b_01ec64.pth"
            )
        try:
            from segment_anything import sam_model_registry
        except ImportError:
            raise WrongCheckpointError(
                f"{folder}: the authors' file needs their package; pip install 'synthset[sam]', or "
                "set checkpoint to facebook/sam-vit-base"
            ) from None
        network = sam_model_registry[name]()
        fill(network, tensors, folder)
        network = network.eval().requires_grad_(False).to(machine.device)
        # Prompts stay in float32: float16 would shift a box by up to half a pixel.
        network.image_encoder.to(machine.dtype)
        return cls(network)

    def predict(
        self, images: Sequence[Pixels], boxes: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor]:
        """Logits of three masks per image, [B, 3, S, S], and their predicted IoUs, [B, 3]."""
        encoder = self.network.image_encoder
        pixels = torch.stack([self._prepare(image) for image in images])
        features = encoder(pixels.to(dtype_of(encoder))).float()
        found = [
            self._decode(feature[None], image, box)
            for feature, image, box in zip(features, images, boxes, strict=True)
        ]
        return torch.cat([masks for masks, _ in found]), torch.cat([ious for _, ious in found])

    def _prepare(self, image: Pixels) -> Tensor:
        small = torch.from_numpy(self._transform.apply_image(np.array(image)))
        signal = small.permute(2, 0, 1).to(device_of(self.network), torch.float32)
        padded: Tensor = self.network.preprocess(signal)
        return padded

    def _decode(
        self, features: Tensor, image: Pixels, box: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        network = self.network
        scaled = self._transform.apply_boxes(np.array([box]), image.shape[:2])
        sparse, dense = network.prompt_encoder(
            points=None,
            boxes=torch.tensor(scaled, dtype=torch.float32, device=features.device),
            masks=None,
        )
        masks, ious = network.mask_decoder(
            image_embeddings=features,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return masks, ious
