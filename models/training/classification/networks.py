"""Networks that classify images: any timm network, or ``small_cnn``.

``small_cnn`` is a compact residual network. It learns from a few hundred small images on a CPU and
has no published weights.
"""

import difflib
from typing import Any

import timm
from torch import Tensor, nn
from torch.nn import functional

from models.training.pretrained import load_weights_file, published_settings, published_weights
from models.training.settings import TrainingParameters

SMALL_CNN = "small_cnn"


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, figure 2), batch-normalised."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width_out)
        # Every block starts as its shortcut, so a high learning rate works from the first step
        # (Goyal et al. 2017, section 5.1).
        nn.init.zeros_(self.norm2.weight)
        # Pooling before the 1x1 convolution uses every pixel (He et al. 2019, ResNet-D).
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True),
            nn.Conv2d(width_in, width_out, 1, bias=False),
            nn.BatchNorm2d(width_out),
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Features of the block, ``stride`` times smaller than its input."""
        inner = functional.relu(self.norm1(self.conv1(features_BCHW)))
        inner = self.norm2(self.conv2(inner))
        return functional.relu(inner + self.shortcut(features_BCHW))


class SmallResNet(nn.Module):
    """A residual network of 0.56 M weights for images of 64 to 160 pixels."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 48, 96, 160)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        pairs = zip(widths[:1] + widths[:-1], widths, strict=True)
        self.stages = nn.Sequential(*(_ResidualBlock(narrow, wide, 2) for narrow, wide in pairs))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Logits, shape (batch, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images_BCHW)).mean(dim=(2, 3)))
        return logits


def build_network(
    name: str, classes: int, image_size: int, start: TrainingParameters | None = None
) -> nn.Module:
    """Build a network with a new head for ``classes``, and load the weights that ``start`` names.

    Without ``start`` all weights are random, and come from torch's global generator.

    Args:
        name: ``small_cnn`` or any timm name, with or without the tag of its checkpoint.
        image_size: side in pixels of the square images, for networks built for one size.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        ValueError: timm has no such network, or the weights file is of another network.
    """
    check_network(name)
    published: dict[str, Any] = {}
    if start is not None and start.pretrained and start.weights_file is None:
        published = published_weights(name, start.revision)
    if name == SMALL_CNN:
        network: nn.Module = SmallResNet(classes)
    else:
        settings: dict[str, Any] = {"num_classes": classes}
        if published_settings(name).fixed_input_size:
            settings["img_size"] = image_size
        if published:
            overlay = {**published, "custom_load": False}
            settings |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        network = timm.create_model(name, **settings)
    if start is not None and start.weights_file is not None:
        load_weights_file(network, start.weights_file)
    return network


def check_network(name: str) -> None:
    """Check that a network exists.

    Raises:
        ValueError: neither timm nor this module has it; the message gives the nearest names.
    """
    if name == SMALL_CNN:
        return
    # timm fetches settings for "hf-hub:" and "local-dir:" names; a recipe must not cause that.
    if ":" in name or "/" in name or not timm.is_model(name):
        known = [SMALL_CNN, *timm.list_models()]
        near = difflib.get_close_matches(name.split(".")[0], known, 3) or [SMALL_CNN]
        raise ValueError(f"network: timm has no {name!r}; use {' or '.join(near)}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        family = name.split(".")[0]
        tags = [tag for tag in timm.list_pretrained() if tag.split(".")[0] == family]
        raise ValueError(
            f"network: timm has no checkpoint {name!r}; use {' or '.join([family, *tags])}"
        ) from None
