"""Features of the embedded backbone: what a photo shows, as 1280 numbers.

The numbers of an image depend on its pixels alone. Neither the number of threads nor the other
images change them: each image is computed separately, by one thread, in 32 bit on the CPU. More
threads compute more images at the same time. Batches would be no faster on a CPU, and their size
changes the last digits.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from models.data.pixels import Floats, Pixels
from models.data.square import letterbox, read_square
from models.embedding.weights import NETWORK, embedded_tensors
from models.runtime.torch_state import one_torch_thread

IMAGE_SIZE = 224
N_FEATURES = 1280


def embed(images: Sequence[Path | Pixels], *, threads: int | None = None) -> Floats:
    """The pooled features before the classifier: float32 (n, 1280), all 0 or more.

    An image is fitted into a square of 224 px on grey, and scaled to -1..1 as the network's authors
    do ((x - 127) / 128, efficientnet_lite_builder.py of the weights' source; timm: 127.5).

    Args:
        images: files, or uint8 HxWx3 RGB arrays of any size.
        threads: images computed at the same time; None: one per core. It changes no number.

    Raises:
        ValueError: a file is missing or no photo; the message names it.
        EmbeddedWeightsError: the package with the weights is missing or changed.
    """
    if not len(images):
        return np.empty((0, N_FEATURES), np.float32)
    load_backbone()
    with one_torch_thread(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return np.stack(list(pool.map(_embed_one, images)))


@cache
def load_backbone() -> nn.Module:
    """The network without its classifier, in evaluation mode; callers must not change it.

    Raises:
        EmbeddedWeightsError: the package with the weights is missing or changed.
    """
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(NETWORK, num_classes=0)
    own = network.state_dict()
    network.load_state_dict({name: embedded_tensors()[name] for name in own})
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last)


def _embed_one(image: Path | Pixels) -> Floats:
    if isinstance(image, Path):
        square = read_square(image, IMAGE_SIZE)
    else:
        square = letterbox(image, IMAGE_SIZE)
    pixels = torch.from_numpy(square).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        features = load_backbone()(pixels.float() / 127.5 - 1.0)
    return np.asarray(features[0].numpy(), np.float32)
