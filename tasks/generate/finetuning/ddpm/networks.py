"""The networks that are trained, and how long and how fast."""

from dataclasses import replace
from pathlib import Path

import torch

from models.diffusion.ddpm.classifier import ClassifierConfig, NoisyClassifier
from models.diffusion.ddpm.config import GROUPS, UnetConfig
from models.diffusion.ddpm.control.sizes import SIZE_CLASSES
from models.diffusion.ddpm.fit.settings import FitSettings
from models.diffusion.ddpm.load import load_unet
from models.diffusion.ddpm.unet import Unet
from models.runtime.batching import to_device
from models.runtime.hardware import Machine, this_machine
from tasks.settings.ddpm import BaseFromScratch, FitDdpmOn, FitSizeClassifierOn

# Side of the smallest maps of a size classifier, px.
SMALLEST_MAP = 8


def new_unet(shape: UnetConfig, seed: int) -> Unet:
    """A U-Net with random weights in float32 on the machine's device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Unet(shape)
    to_device(network, this_machine().device)
    return network


def load_base(source: Path) -> Unet:
    """The U-Net of a checkpoint's folder, or of a file, in float32 on the machine's device."""
    return load_unet(source, _exact_machine())


def new_classifier(parameters: FitSizeClassifierOn, seed: int) -> NoisyClassifier:
    """A classifier of the network's images with random weights on the machine's device."""
    levels = max(1, (parameters.size // SMALLEST_MAP).bit_length())
    shape = ClassifierConfig(
        image_size=parameters.size,
        channels=parameters.channels,
        multipliers=tuple(min(2**level, 4) for level in range(levels)),
        residual_blocks=1,
        attention_factors=(2 ** (levels - 1),),
        head_channels=GROUPS,
        curve=parameters.curve,
        classes=SIZE_CLASSES,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NoisyClassifier(shape)
    to_device(network, this_machine().device)
    return network


def fit_settings(parameters: BaseFromScratch | FitDdpmOn) -> FitSettings:
    """How long and how fast the settings train."""
    shared = FitSettings.model_fields.keys() & type(parameters).model_fields.keys()
    return FitSettings(**parameters.model_dump(include=set(shared)))


def _exact_machine() -> Machine:
    return replace(this_machine(), dtype=torch.float32)
