"""IS-Net: a U-Net of U-blocks that predicts the mask of the salient object.

Qin, Dai, Hu, Fan, Shao and Van Gool, "Highly Accurate Dichotomous Image Segmentation" (ECCV 2022).
Modules are named as in the published weights.
"""

import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch import Tensor, nn

Maps = tuple[Tensor, ...]


class Unit(nn.Module):
    """Convolution 3x3, batch norm, ReLU; keeps the size."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


class Block(nn.Module):
    """A residual U-block: a small U-Net of ``depth`` levels, added to the output of its first unit.

    With ``flat`` it keeps the size and widens its receptive field by dilation instead.
    """

    def __init__(
        self, depth: int, inputs: int, middle: int, outputs: int, *, flat: bool = False
    ) -> None:
        super().__init__()
        self.depth, self.flat = depth, flat
        self.rebnconvin = Unit(inputs, outputs)
        for level in range(1, depth + 1):
            dilation = self._dilation(level)
            width = outputs if level == 1 else middle
            self.add_module(f"rebnconv{level}", Unit(width, middle, dilation))
        for level in range(depth - 1, 0, -1):
            dilation = self._dilation(level)
            width = outputs if level == 1 else middle
            self.add_module(f"rebnconv{level}d", Unit(2 * middle, width, dilation))

    def _dilation(self, level: int) -> int:
        if self.flat:
            return int(2 ** (level - 1))
        return 2 if level == self.depth else 1

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.rebnconvin(x)
        x, levels = first, []
        for level in range(1, self.depth + 1):
            if not self.flat and 1 < level < self.depth:
                x = _max_pool(x)
            x = self.get_submodule(f"rebnconv{level}")(x)
            levels.append(x)
        levels.pop()
        for level in range(self.depth - 1, 0, -1):
            partner = levels.pop()
            joined = torch.cat((_resize_to(x, partner), partner), 1)
            x = self.get_submodule(f"rebnconv{level}d")(joined)
        return x + first


class IsNet(nn.Module):
    """The whole network.

    Args:
        divisor: divides all channel counts except those of the image and the maps; 1 in the
            published weights.
    """

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()

        def width(channels: int) -> int:
            return channels // divisor

        def block(depth: int, *channels: int, flat: bool = False) -> Block:
            inputs, middle, outputs = (width(count) for count in channels)
            return Block(depth, inputs, middle, outputs, flat=flat)

        self.conv_in = nn.Conv2d(3, width(64), 3, stride=2, padding=1)
        self.stage1 = block(7, 64, 32, 64)
        self.stage2 = block(6, 64, 32, 128)
        self.stage3 = block(5, 128, 64, 256)
        self.stage4 = block(4, 256, 128, 512)
        self.stage5 = block(4, 512, 256, 512, flat=True)
        self.stage6 = block(4, 512, 256, 512, flat=True)
        self.stage5d = block(4, 1024, 256, 512, flat=True)
        self.stage4d = block(4, 1024, 128, 256)
        self.stage3d = block(5, 512, 64, 128)
        self.stage2d = block(6, 256, 32, 64)
        self.stage1d = block(7, 128, 16, 64)
        for level, channels in enumerate((64, 64, 128, 256, 512, 512), 1):
            self.add_module(f"side{level}", nn.Conv2d(width(channels), 1, 3, padding=1))

    def forward(self, pixels: Tensor) -> tuple[Maps, Maps]:
        """Return six maps in 0..1 of the input's size, finest first, and the features behind them.

        Args:
            pixels: [B, 3, H, W] in -0.5..0.5.
        """
        features = self._features(pixels)
        maps = tuple(self._map(level, feature, pixels) for level, feature in enumerate(features, 1))
        return maps, tuple(features)

    def finest(self, pixels: Tensor) -> Tensor:
        """Return the finest map alone, [B, 1, H, W]."""
        return self._map(1, self._features(pixels)[0], pixels)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        x, levels = self.conv_in(pixels), []
        for level in range(1, 7):
            x = self.get_submodule(f"stage{level}")(x if level == 1 else _max_pool(x))
            levels.append(x)
        features = [levels.pop()]
        for level in range(5, 0, -1):
            partner = levels.pop()
            joined = torch.cat((_resize_to(features[0], partner), partner), 1)
            features.insert(0, self.get_submodule(f"stage{level}d")(joined))
        return features

    def _map(self, level: int, features: Tensor, pixels: Tensor) -> Tensor:
        return torch.sigmoid(_resize_to(self.get_submodule(f"side{level}")(features), pixels))


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resize_to(x: Tensor, partner: Tensor) -> Tensor:
    return F.interpolate(x, size=partner.shape[2:], mode="bilinear", align_corners=False)
