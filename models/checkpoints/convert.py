"""Convert published pickles to safetensors without executing anything in them."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoints.errors import NotTensorsError

# Keys that training code wraps weights in; averaged weights are preferred.
WRAPPERS = ("params_ema", "params", "state_dict")


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a ``.pth``, ``.bin`` or ``.ckpt`` file as safetensors.

    Tensors that share memory are written separately, because the format has no sharing. The target
    appears whole or not at all. Its bytes depend on the tensors only.

    Raises:
        NotTensorsError: the file is not a dictionary of tensors, or needs code to be read.
    """
    content = _load(source)
    tensors = {name: tensor.contiguous() for name, tensor in unwrap(content, source).items()}
    temporary = target.with_name(f"{target.name}.writing")
    save_file(_unshare(tensors), temporary, metadata={"format": "pt"})
    temporary.replace(target)


def unwrap(content: object, source: Path) -> dict[str, Tensor]:
    """The tensors of a loaded file by name, without the dictionary that training code put around.

    Raises:
        NotTensorsError: an entry is no tensor, or there is none.
    """
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content:
        raise NotTensorsError(f"{source.name}: no dictionary of tensors; use another source")
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise NotTensorsError(f"{source.name}: {str(name)!r} is no tensor; use another source")
    return {str(name): tensor for name, tensor in content.items()}


def _load(source: Path) -> object:
    is_zip = zipfile.is_zipfile(source)
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=is_zip)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise NotTensorsError(
            f"{source.name}: holds more than tensors or is damaged, and is not loaded ({reason});"
            " use another source"
        ) from None


def _unshare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with its own memory."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        is_whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        is_shared = storage.data_ptr() in seen
        separate[name] = tensor if is_whole and not is_shared else tensor.clone()
        seen.add(storage.data_ptr())
    return separate
