"""Load U-Nets and classifiers; U-Nets are in the layout of published checkpoints."""

from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import save_file

from models.diffusion.ddpm.classifier import ClassifierConfig, NoisyClassifier
from models.diffusion.ddpm.config import IMAGENET_256, UnetConfig
from models.diffusion.ddpm.unet import Unet
from models.diffusion.ddpm.weights_file import read_weights
from models.runtime.batching import to_device
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, fill, read_json, read_tensors

CONFIG = "config.json"
FILE = "256x256_diffusion_uncond"


def load_unet(source: Path, machine: Machine) -> Unet:
    """The U-Net of a folder or a file with frozen weights, on the machine's device and precision.

    A folder holds a weights file, and a ``config.json`` with the fields of `UnetConfig`. Without
    that file the weights must be those of the published network for ImageNet at 256 px. A file is
    one that `save_weights` wrote with a `UnetConfig`.

    Raises:
        WrongCheckpointError: a file is missing, can't be read, or holds another network.
    """
    if source.is_file():
        config, weights = read_weights(UnetConfig, source)
    else:
        config, weights = read_config(source), read_tensors(source, FILE)
    network = Unet(config)
    fill(network, weights, source)
    network = network.eval().requires_grad_(False).to(dtype=machine.dtype)
    to_device(network, machine.device)
    return network


def save_unet(network: Unet, folder: Path) -> None:
    """Write a U-Net into a folder that `load_unet` reads."""
    weights = {name: weight.cpu().contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, folder / f"{FILE}.safetensors", metadata={"format": "pt"})
    (folder / CONFIG).write_text(network.config.model_dump_json(indent=1), encoding="utf-8")


def load_classifier(file: Path, machine: Machine) -> NoisyClassifier:
    """The classifier of a file that `save_weights` wrote, frozen, on the machine's device.

    Raises:
        WrongCheckpointError: the file can't be read, or holds another network.
    """
    config, weights = read_weights(ClassifierConfig, file)
    network = NoisyClassifier(config)
    fill(network, weights, file)
    network = network.eval().requires_grad_(False).to(dtype=machine.dtype)
    to_device(network, machine.device)
    return network


def read_config(folder: Path) -> UnetConfig:
    """The shape of the network in a folder; the published one's if there is no ``config.json``.

    Raises:
        WrongCheckpointError: the file can't be read or describes no possible network.
    """
    file = folder / CONFIG
    if not file.is_file():
        return IMAGENET_256
    try:
        return UnetConfig.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise WrongCheckpointError(
            f"{file}: {field} {first['msg']}; give the shape of the network"
        ) from None
