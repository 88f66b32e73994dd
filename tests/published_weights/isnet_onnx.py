"""Turn the half-precision ONNX file of IS-Net into the file that its authors publish.

The package holds the ONNX file in chunks, which ``dist/resources.json`` lists. Batch norms are
folded into the convolutions. In the published layout each is a norm that changes nothing.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.published_weights.fetch import PackageError

FILE = "isnet-general-use.pth"
CHECKPOINT = "xuebinqin/IS-Net"
RESOURCE = "/models/medium"
# What torch adds to a variance: with this weight a norm of variance 1 multiplies by 1.
EPSILON = 1e-5
# The stages in the order in which they run, and the levels of each.
STAGES = {
    **{"stage1": 7, "stage2": 6, "stage3": 5, "stage4": 4, "stage5": 4, "stage6": 4},
    **{"stage5d": 4, "stage4d": 4, "stage3d": 5, "stage2d": 6, "stage1d": 7},
}
SIDES = tuple(f"side{level}" for level in range(1, 7))


def unpack(archive: Path, folder: Path) -> Path:
    """Join the chunks of the half-precision ONNX file; return its path.

    Raises:
        PackageError: a chunk has another checksum or place than the list states.
    """
    with tarfile.open(archive) as packed:

        def read(name: str) -> bytes:
            file = packed.extractfile(f"package/dist/{name}")
            return file.read() if file else b""

        resources = json.loads(read("resources.json"))
        content = join_chunks(resources[RESOURCE], read)
    path = folder / "isnet.onnx"
    path.write_bytes(content)
    return path


def join_chunks(resource: dict[str, Any], read: Callable[[str], bytes]) -> bytes:
    """The bytes of a resource, whose chunks are named by their sha256.

    Raises:
        PackageError: a chunk has another checksum or place than the list states.
    """
    parts, end = [], 0
    for chunk in resource["chunks"]:
        part = read(chunk["hash"])
        if hashlib.sha256(part).hexdigest() != chunk["hash"]:
            raise PackageError(f"chunk {chunk['hash'][:16]}: another checksum")
        if chunk["offsets"] != [end, end + len(part)]:
            raise PackageError(f"chunk {chunk['hash'][:16]}: does not start at byte {end}")
        parts.append(part)
        end += len(part)
    if end != resource["size"]:
        raise PackageError(f"{end} bytes in chunks instead of {resource['size']}")
    return b"".join(parts)


def convert(path: Path, folder: Path) -> Path:
    """Write ``isnet-general-use.pth`` into a folder; return its path.

    Raises:
        PackageError: the file holds another network.
    """
    torch.save(with_names(read_convolutions(path)), folder / FILE)
    return folder / FILE


def read_convolutions(path: Path) -> list[tuple[str, Tensor, Tensor]]:
    """Name of the weight, weight and bias (float32) of all convolutions, in running order."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def read(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(stored[name]).astype("float32"))

    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [(node.input[1], read(node.input[1]), read(node.input[2])) for node in nodes]


def with_names(convolutions: Sequence[tuple[str, Tensor, Tensor]]) -> dict[str, Tensor]:
    """The tensors under their published names, with norms that change nothing.

    The first and the last convolutions are known by their own names, the others by their order.

    Raises:
        PackageError: names are missing, or the network has another number of convolutions.
    """
    named = {name.removesuffix(".weight"): pair for name, *pair in convolutions}
    outer = ("conv_in", *SIDES)
    missing = [name for name in outer if name not in named]
    inner = published_names()
    if missing or len(named) != len(outer) + len(inner):
        raise PackageError(f"{len(named)} convolutions, without {missing}: no IS-Net")
    tensors = {}
    for name in outer:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = named.pop(name)
    for unit, (weight, bias) in zip(inner, named.values(), strict=True):
        tensors[f"{unit}.conv_s1.weight"], tensors[f"{unit}.conv_s1.bias"] = weight, bias
        norm = _norm_without_effect(len(bias))
        tensors.update({f"{unit}.bn_s1.{name}": tensor for name, tensor in norm.items()})
    return tensors


def published_names() -> list[str]:
    """The names of all units, in the order in which the network runs them."""
    units = []
    for stage, depth in STAGES.items():
        down = [f"rebnconv{level}" for level in range(1, depth + 1)]
        up = [f"rebnconv{level}d" for level in range(depth - 1, 0, -1)]
        units += [f"{stage}.{unit}" for unit in ("rebnconvin", *down, *up)]
    return units


def _norm_without_effect(channels: int) -> dict[str, Tensor]:
    return {
        "weight": torch.full((channels,), (1 + EPSILON) ** 0.5),
        "bias": torch.zeros(channels),
        "running_mean": torch.zeros(channels),
        "running_var": torch.ones(channels),
        "num_batches_tracked": torch.tensor(0),
    }
