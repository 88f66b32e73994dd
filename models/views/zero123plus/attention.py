"""Reference attention: a UNet's self-attention also attends to the tokens of a reference image.

Zero123++ (Shi et al., arXiv 2310.15110, section 3.2) shows the network its reference by two passes
per step. In the write pass the noised reference goes through the UNet, and every self-attention
layer stores its keys and values. In the read pass the sheet of views goes through, and each layer
attends to its own tokens and to the stored ones.

Keys and values are stored instead of tokens, because projecting the tokens again gives the same.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_SELF_ATTENTION = "attn1.processor"


class ReferenceAttention:
    """Reference attention in all self-attention layers of a UNet, which it installs.

    Outside of `write` and `read` the UNet computes what it computed before.
    """

    def __init__(self, unet: Any) -> None:
        """``unet`` is a diffusers UNet2DConditionModel whose self-attention is named ``attn1``."""
        self.layers = {
            name: _AttentionLayer()
            for name in unet.attn_processors
            if name.endswith(_SELF_ATTENTION)
        }
        unet.set_attn_processor({**unet.attn_processors, **self.layers})

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """Within the context, images that pass the UNet replace the stored references."""
        self._switch("write")
        try:
            yield
        finally:
            self._switch("off")

    @contextlib.contextmanager
    def read(self, rows: Tensor) -> Iterator[None]:
        """Within the context, images that pass the UNet attend to the stored references.

        Args:
            rows: int64 [N]; for each of the N images in the read pass, the index of its reference
                in the write pass. No image sees another's.
        """
        self._switch("read", rows)
        try:
            yield
        finally:
            self._switch("off")

    def clear(self) -> None:
        """Free the memory of the stored references."""
        for layer in self.layers.values():
            layer.stored = None

    def _switch(self, mode: Literal["off", "write", "read"], rows: Tensor | None = None) -> None:
        for layer in self.layers.values():
            layer.mode, layer.rows = mode, rows


class _AttentionLayer:
    """Scaled dot-product self-attention of one layer.

    Attributes:
        mode: whether keys and values are stored, read or neither.
        rows: see `ReferenceAttention.read`.
        stored: keys and values [B, heads, tokens, width] of the last write pass.
    """

    def __init__(self) -> None:
        self.mode: Literal["off", "write", "read"] = "off"
        self.rows: Tensor | None = None
        self.stored: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return attention [B, N, C] for tokens [B, N, C]; diffusers calls it without a mask."""
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if self.mode == "write":
            self.stored = key, value
        elif self.mode == "read" and self.stored is not None and self.rows is not None:
            key = torch.cat([key, self.stored[0][self.rows]], dim=2)
            value = torch.cat([value, self.stored[1][self.rows]], dim=2)
        attended = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = attn.to_out[0](attended.transpose(1, 2).flatten(2))
        return output
