"""First weights of a network: embedded, published by timm, from a local file, or random."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, load_state_dict
from torch import nn

from models.embedding.weights import NETWORK, embedded_tensors

# Prefixes under which training frameworks, this one included, store the network in a checkpoint.
WRAPPERS = ("network.", "module.", "model.")
HUB_TIMEOUT_S = 5.0
TORCHVISION_FILES = "https://download.pytorch.org/models/"


class WeightsMissingError(ValueError):
    """Published weights are neither on this machine nor reachable."""


def published_settings(name: str) -> PretrainedCfg:
    """timm's settings of a network's published checkpoint; empty where none is published."""
    return timm.get_pretrained_cfg(name) or PretrainedCfg()


def published_weights(name: str, revision: str | None) -> dict[str, Any]:
    """The fields of timm's settings that name a network's published weights: a file, or tensors.

    The embedded backbone needs no hub, unless a revision is named.

    Raises:
        WeightsMissingError: timm publishes none, or the hub is unreachable.
        EmbeddedWeightsError: the package of the embedded backbone is missing or changed.
    """
    if is_embedded(name, revision):
        # timm takes the head out of the dictionary that it gets.
        return {"state_dict": dict(embedded_tensors())}
    return {"file": str(find_published(name, revision))}


def is_embedded(name: str, revision: str | None) -> bool:
    """Whether a network's published weights come with the installation."""
    return revision is None and name.partition(".")[0] == NETWORK


def find_published(name: str, revision: str | None) -> Path:
    """The file of a network's published checkpoint, downloaded into the hub's cache if necessary.

    torchvision's own file in torch's cache, such as ``resnet18-f37072fd.pth``, is used where the
    checkpoint is torchvision's and no revision is named.

    Raises:
        WeightsMissingError: timm publishes none, or the hub is unreachable.
        ValueError: the file in torch's cache is corrupt.
    """
    settings = published_settings(name)
    if not settings.hf_hub_id:
        raise WeightsMissingError(
            f"{name} has no published weights; set pretrained: false or give weights_file"
        )
    in_torch_cache = None if revision else find_in_torch_cache(str(settings.url or ""))
    if in_torch_cache is not None:
        return in_torch_cache
    repository = str(settings.hf_hub_id)
    filename = str(settings.hf_hub_filename or "model.safetensors")
    cached = try_to_load_from_cache(repository, filename, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        reason = _why_unreachable()
        if reason is None:
            return Path(hf_hub_download(repository, filename, revision=revision))
    except Exception as error:  # errors of the hub, its HTTP library and the disk all end here
        reason = type(error).__name__
    raise WeightsMissingError(
        f"pretrained weights {repository}@{revision or 'main'} are not on this machine and "
        f"{constants.ENDPOINT} gives none ({reason}); use the weights that are installed: "
        f"--set train.network={NETWORK}; or give weights_file"
    )


def find_in_torch_cache(url: str) -> Path | None:
    """The file of a download of torchvision in torch's cache; None if it is not there.

    Its name ends with the first eight digits of its sha256.

    Raises:
        ValueError: the file has another sha256.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not url.startswith(TORCHVISION_FILES) or not path.is_file():
        return None
    wanted = path.stem.rpartition("-")[2]
    found = hashlib.sha256(path.read_bytes()).hexdigest()[: len(wanted)]
    if found != wanted:
        raise ValueError(
            f"{path}: its sha256 begins with {found}, not {wanted} as its name says; fetch it again"
        )
    return path


def load_weights_file(network: nn.Module, path: Path) -> None:
    """Load a local checkpoint into a network; a head of another shape is left out.

    Raises:
        ValueError: the file is missing, is no checkpoint, or is of another network.
    """
    try:
        weights = load_state_dict(str(path), use_ema=False, weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"weights_file: {path} does not exist; correct the path") from None
    except Exception as error:  # torch, pickle, zip and safetensors readers raise a dozen types
        raise ValueError(
            f"weights_file: {path} is no checkpoint that loads as plain tensors "
            f"({type(error).__name__}); save a state_dict as .safetensors or .pth"
        ) from error
    own = network.state_dict()
    for wrapper in WRAPPERS:
        if not any(key.startswith(wrapper) for key in own):
            weights = {key.removeprefix(wrapper): weights[key] for key in weights}
    heads = head_names(network)
    body = [key for key in own if not key.startswith(heads)]
    unlike = [key for key in body if key not in weights or weights[key].shape != own[key].shape]
    if unlike:
        raise ValueError(
            f"weights_file: {path} fits {len(body) - len(unlike)} of the network's {len(body)} "
            f"tensors ({unlike[0]} is missing or has another shape); give a checkpoint of it"
        )
    loadable = {k: w for k, w in weights.items() if k in own and w.shape == own[k].shape}
    network.load_state_dict(loadable, strict=False)


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names of a network's weights that are its head, such as ``classifier.``."""
    names = getattr(network, "pretrained_cfg", {}).get("classifier") or "head"
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations, in 0..1, that normalise the network's input."""
    settings = getattr(network, "pretrained_cfg", {})
    mean = settings.get("mean", IMAGENET_DEFAULT_MEAN)
    return tuple(mean), tuple(settings.get("std", IMAGENET_DEFAULT_STD))


def count_parameters(network: nn.Module) -> int:
    """The number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def _why_unreachable() -> str | None:
    """Why the hub is unreachable, or None. The hub's client alone would retry for a minute."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    reasons: list[str | None] = [f"no answer within {HUB_TIMEOUT_S:.0f} s"]

    def send_request() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
            reasons.append(None)
        except Exception as error:  # the HTTP library depends on the hub client's version
            reasons.append(type(error).__name__)

    # Name resolution ignores the timeout, so the thread is joined with one.
    thread = threading.Thread(target=send_request, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return reasons[-1]
