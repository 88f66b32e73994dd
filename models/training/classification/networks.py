"""The networks that are trained on real, synthetic and mixed photos, and where weights come from.

Any timm name can be built; ``small_cnn`` is a compact residual network of our own that learns
from a few hundred small pictures on a CPU, without published weights. Weights come from the hub's
cache, the hub, or a local file; what is missing is said in one line, before any training.
"""

import difflib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from timm.models import PretrainedCfg, load_state_dict
from torch import Tensor, nn
from torch.nn import functional

from models.data.settings import restrict_libraries

SMALL_CNN = "small_cnn"
# timm's preprocessing where a network names none: channel means and deviations of ImageNet, 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Names under which training frameworks wrap the network inside a checkpoint, ours included.
WRAPPERS = ("network.", "module.", "model.")
REACHABLE_WITHIN_S = 5.0


class WeightsMissing(ValueError):
    """Pretrained weights were asked for and are neither on this machine nor reachable."""


@dataclass(frozen=True)
class Pretraining:
    """Where a network's first weights come from: published ones, a local file, or chance.

    ``published`` asks for timm's checkpoint of the network at hub ``revision`` (None: the newest);
    ``file`` takes a local .safetensors or .pth file in its place.
    """

    published: bool = False
    file: Path | None = None
    revision: str | None = None


class ResidualBlock(nn.Module):
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
        """The block's features, ``stride`` times smaller."""
        inner = functional.relu(self.norm1(self.conv1(features_BCHW)))
        inner = self.norm2(self.conv2(inner))
        return functional.relu(inner + self.shortcut(features_BCHW))


class SmallResNet(nn.Module):
    """A residual network of 0.56 M weights for pictures of 64 to 160 pixels."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 48, 96, 160)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        pairs = zip(widths[:1] + widths[:-1], widths, strict=True)
        self.stages = nn.Sequential(*(ResidualBlock(narrow, wide, 2) for narrow, wide in pairs))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Logits, shape (batch, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images_BCHW)).mean(dim=(2, 3)))
        return logits


def build_network(name: str, classes: int, image_size: int, start: Pretraining) -> nn.Module:
    """The network with a fresh head for ``classes``, and weights as ``start`` says.

    Chance weights come from torch's global generator: seed it for a repeatable network.

    Args:
        name: ``small_cnn`` or any timm name, with or without the tag of its checkpoint.
        classes: how many classes the head tells apart.
        image_size: side in pixels of the square pictures, for networks built for one size.
        start: where the weights come from.

    Raises:
        WeightsMissing: published weights were asked for and can't be had.
        ValueError: timm has no such network, or the file fits another one.
    """
    check_network(name)
    published = start.published and start.file is None
    file = find_published(name, start.revision) if published else None
    if name == SMALL_CNN:
        network: nn.Module = SmallResNet(classes)
    else:
        settings: dict[str, Any] = {"num_classes": classes}
        if _published_settings(name).fixed_input_size:
            settings["img_size"] = image_size
        if file is not None:
            overlay = {"file": str(file), "custom_load": False}
            settings |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        network = timm.create_model(name, **settings)
    if start.file is not None:
        _load_file(network, start.file)
    return network


def check_network(name: str) -> None:
    """Raises ValueError, with the nearest names, where neither we nor timm has such a network."""
    if name == SMALL_CNN:
        return
    # timm reads "hf-hub:" and "local-dir:" names as places to fetch settings from; only its own
    # registry is asked, so a recipe can't make this reach out.
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


def normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations, in 0..1, that the network's pictures are normalised with."""
    settings = getattr(network, "pretrained_cfg", {})
    mean, deviation = settings.get("mean", IMAGENET_MEAN), settings.get("std", IMAGENET_STD)
    return tuple(mean), tuple(deviation)


def count_parameters(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def _published_settings(name: str) -> PretrainedCfg:
    return timm.get_pretrained_cfg(name) or PretrainedCfg()


def find_published(name: str, revision: str | None) -> Path:
    """The file of a network's published checkpoint in the hub cache, downloaded if it must be.

    Raises:
        WeightsMissing: there is none, or the hub can't be reached.
    """
    if name == SMALL_CNN:
        raise WeightsMissing(
            f"{SMALL_CNN} has no published weights; set pretrained: false or give weights_file"
        )
    settings = _published_settings(name)
    if not settings.hf_hub_id:
        raise WeightsMissing(
            f"timm publishes no weights of {name}; set pretrained: false or give weights_file"
        )
    repository = str(settings.hf_hub_id)
    filename = str(settings.hf_hub_filename or "model.safetensors")
    cached = try_to_load_from_cache(repository, filename, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        reason = _why_unreachable()
        if reason is None:
            restrict_libraries()
            return Path(hf_hub_download(repository, filename, revision=revision))
    except Exception as error:  # its own, the HTTP library's and the disk's errors all mean this
        reason = type(error).__name__
    raise WeightsMissing(
        f"pretrained weights {repository}@{revision or 'main'} are not on this machine and "
        f"{constants.ENDPOINT} gives none ({reason}); give weights_file, or set pretrained: false"
    )


def _why_unreachable() -> str | None:
    """Why the hub can't be asked, or None. The hub client itself retries for a minute."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    answer = [f"no answer within {REACHABLE_WITHIN_S:.0f} s"]

    def knock() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=REACHABLE_WITHIN_S)
            answer[0] = ""
        except Exception as error:  # which HTTP library is underneath depends on the hub's version
            answer[0] = type(error).__name__

    # Name look-up obeys no timeout, so the wait is bounded from outside.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(REACHABLE_WITHIN_S)
    return answer[0] or None


def _load_file(network: nn.Module, path: Path) -> None:
    """Loads a local checkpoint, all of it but a head that has another shape."""
    try:
        weights = load_state_dict(str(path), use_ema=False, weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"weights_file: {path} does not exist") from None
    except Exception as error:  # torch, pickle, zip and safetensors readers raise a dozen types
        raise ValueError(
            f"weights_file: {path} is no checkpoint that loads as plain tensors "
            f"({type(error).__name__}); save a state_dict as .safetensors or .pth"
        ) from error
    own = network.state_dict()
    for wrapper in WRAPPERS:
        if not any(key.startswith(wrapper) for key in own):
            weights = {key.removeprefix(wrapper): weights[key] for key in weights}
    heads = _head_names(network)
    body = [key for key in own if not key.startswith(heads)]
    unlike = [k for k in body if k not in weights or weights[k].shape != own[k].shape]
    if unlike:
        raise ValueError(
            f"weights_file: {path} fits {len(body) - len(unlike)} of the network's {len(body)} "
            f"tensors ({unlike[0]} is missing or has another shape); give a checkpoint of it"
        )
    fitting = {k: w for k, w in weights.items() if k in own and w.shape == own[k].shape}
    network.load_state_dict(fitting, strict=False)


def _head_names(network: nn.Module) -> tuple[str, ...]:
    names = getattr(network, "pretrained_cfg", {}).get("classifier") or "head"
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
