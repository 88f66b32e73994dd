"""Reference attention: a picture leaves its self-attention tokens in a UNet for other pictures.

Zero123++ (Shi et al., arXiv 2310.15110, section 3.2) shows the network its reference by two passes
per step. In the write pass the noised reference goes through the UNet and every self-attention
layer keeps the keys and values that it makes of it. In the read pass the sheet of views goes
through, and each layer attends to its own tokens and to the kept ones.

Keys and values are kept, not tokens: the reference's projections would come out the same again.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_SELF_ATTENTION = "attn1.processor"


class References:
    """The references in a UNet's self-attention layers; made once per UNet, which it equips.

    Outside `written` and `read` the UNet works as before.
    """

    def __init__(self, unet: Any) -> None:
        """``unet`` is a diffusers UNet2DConditionModel whose self-attention is named ``attn1``."""
        self.layers = {
            name: _ReferenceAttention()
            for name in unet.attn_processors
            if name.endswith(_SELF_ATTENTION)
        }
        unet.set_attn_processor({**unet.attn_processors, **self.layers})

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Within it, what goes through the UNet replaces the references that are kept."""
        self._switch("write")
        try:
            yield
        finally:
            self._switch("off")

    @contextlib.contextmanager
    def read(self, rows: Tensor) -> Iterator[None]:
        """Within it, what goes through the UNet attends to the references that are kept.

        Args:
            rows: int64 [N]; the reference, by its place in the write pass, that each of the N
                images in the read pass sees. No image sees another's.
        """
        self._switch("read", rows)
        try:
            yield
        finally:
            self._switch("off")

    def forget(self) -> None:
        """Give the memory of the kept references back."""
        for layer in self.layers.values():
            layer.kept = None

    def _switch(self, mode: Literal["off", "write", "read"], rows: Tensor | None = None) -> None:
        for layer in self.layers.values():
            layer.mode, layer.rows = mode, rows


class _ReferenceAttention:
    """Scaled dot-product self-attention of one layer, with the references in its mind.

    ``kept`` holds keys and values [B, heads, tokens, width] of the last write pass.
    """

    def __init__(self) -> None:
        self.mode: Literal["off", "write", "read"] = "off"
        self.rows: Tensor | None = None
        self.kept: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attention as diffusers calls it, for tokens [B, N, C] without mask; [B, N, C]."""
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if self.mode == "write":
            self.kept = key, value
        elif self.mode == "read" and self.kept is not None and self.rows is not None:
            key = torch.cat([key, self.kept[0][self.rows]], dim=2)
            value = torch.cat([value, self.kept[1][self.rows]], dim=2)
        attended = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = attn.to_out[0](attended.transpose(1, 2).flatten(2))
        return output
