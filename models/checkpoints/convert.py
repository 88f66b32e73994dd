"""Published pickles to safetensors: loaded once, tensors only, nothing in them is executed."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

# Under which training code keeps the weights beside other things; the averaged ones go first.
INNER = ("params_ema", "params", "state_dict")


class NotTensors(ValueError):
    """A published file that is no plain dictionary of tensors; the line names it."""


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a ``.pth``, ``.bin`` or ``.ckpt`` file as safetensors.

    Tensors that share memory are written once each, since the format knows no sharing. The target
    appears whole or not at all. The bytes depend on the tensors only.

    Raises:
        NotTensors: the file can't be read as a dictionary of tensors without executing code.
    """
    tensors = {name: tensor.contiguous() for name, tensor in _read(source).items()}
    beside = target.with_name(f"{target.name}.writing")
    save_file(_unshared(tensors), beside, metadata={"format": "pt"})
    beside.replace(target)


def _read(source: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(
            source,
            map_location="cpu",
            weights_only=True,
            mmap=zipfile.is_zipfile(source),
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NotTensors(
            f"{source.name}: holds more than tensors or is damaged, and is not loaded"
            f" ({reason[:120]})"
        ) from None
    for name in INNER:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content:
        raise NotTensors(f"{source.name}: no dictionary of tensors")
    strangers = [str(name) for name, one in content.items() if not isinstance(one, Tensor)]
    if strangers:
        raise NotTensors(f"{source.name}: {strangers[0]!r} is no tensor")
    return {str(name): tensor for name, tensor in content.items()}


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        apart[name] = tensor if whole and storage.data_ptr() not in seen else tensor.clone()
        seen.add(storage.data_ptr())
    return apart
