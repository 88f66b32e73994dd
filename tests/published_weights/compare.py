"""Compare the product's networks with the packages' own runtimes, picture by picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.checkpoints.local import locate
from models.data.pixels import Floats, Pixels
from models.runtime.hardware import this_machine
from models.runtime.network_pool import infer
from models.segmentation.isnet import Isnet, IsnetRequest
from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest
from tests.published_weights import isnet_onnx, real_esrgan_ncnn
from tests.published_weights.pictures import centre
from tests.published_weights.runtimes import NcnnRealEsrgan, OnnxIsnet, prepare

# Height and width of what is enlarged: whole, and as two tiles that overlap.
SIZE = (96, 128)
TILED_SIZE, TILE = (48, 208), 48


@dataclass(frozen=True)
class Difference:
    """How two sets of values differ.

    Attributes:
        largest: the largest difference.
        share: share of the values that differ at all, 0..1.
        n_values: number of values.
    """

    largest: float
    share: float
    n_values: int


def compare_real_esrgan(files: Path, photos: Sequence[Pixels]) -> Difference:
    """Grey levels between the wrapper's results and ncnn's, for the middle of each photo.

    Args:
        files: the path of ncnn's files without suffix.
    """
    images = [centre(photo, SIZE) for photo in photos]
    runtime = NcnnRealEsrgan(files)
    return difference(_enlarge(images), [runtime.enlarge(image) for image in images])


def compare_tiles(photo: Pixels) -> Difference:
    """Grey levels between the middle of a photo enlarged in two tiles, and enlarged whole."""
    image = centre(photo, TILED_SIZE)
    return difference(_enlarge([image], TILE), _enlarge([image]))


def compare_isnet(file: Path, photos: Sequence[Pixels]) -> tuple[Difference, Difference]:
    """Differences of the finest map (0..1), and of the wrapper's alpha in grey levels.

    The alpha's pre- and post-processing around onnxruntime is `runtimes`' own.
    """
    runtime = OnnxIsnet(file)
    levels = [prepare(photo) for photo in photos]
    maps = [runtime.salience(image) for image in levels]
    alphas = [
        runtime.alpha(map_, photo.shape[:2]) for map_, photo in zip(maps, photos, strict=True)
    ]
    requests = [IsnetRequest(photo) for photo in photos]
    found = list(infer(Isnet, [isnet_onnx.CHECKPOINT], requests))
    in_levels = [[np.rint(alpha * 255) for alpha in results] for results in (found, alphas)]
    return difference(list(_run_network(levels)), maps), difference(in_levels[0], in_levels[1])


def difference(
    found: Sequence[npt.NDArray[Any]], expected: Sequence[npt.NDArray[Any]]
) -> Difference:
    """How two lists of arrays of equal shapes differ; those of 1e-6 and less count as none.

    Raises:
        ValueError: two arrays have other shapes.
    """
    gaps = []
    for first, second in zip(found, expected, strict=True):
        if first.shape != second.shape:
            raise ValueError(f"shape {first.shape} instead of {second.shape}")
        gaps.append(np.abs(first.astype(np.float64) - second).ravel())
    all_gaps = np.concatenate(gaps)
    return Difference(float(all_gaps.max()), float((all_gaps > 1e-6).mean()), all_gaps.size)


def _enlarge(images: Sequence[Pixels], tile: int = 0) -> list[Pixels]:
    requests = [RealEsrganRequest(image, tile=tile) for image in images]
    return list(infer(RealEsrgan, [real_esrgan_ncnn.CHECKPOINT], requests))


def _run_network(levels: Sequence[Floats]) -> Iterator[Floats]:
    """The finest map of the product's network for levels [1024, 1024, 3] in 0..255."""
    folder = locate(isnet_onnx.CHECKPOINT)
    network = Isnet.load(folder, machine=this_machine()).network
    for image in levels:
        pixels = torch.from_numpy(image / np.float32(255) - np.float32(0.5))
        with torch.inference_mode():
            yield network.finest(pixels.permute(2, 0, 1)[None])[0, 0].numpy()
