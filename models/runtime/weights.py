"""Checkpoints that are published as one file of tensors, without a library's folder layout."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.runtime.pretrained import WrongCheckpoint

WRAPPERS = ("params_ema", "params", "state_dict")


def read_tensors(folder: Path, *names: str) -> dict[str, Tensor]:
    """The tensors of the one weights file in a folder, on the CPU, by their keys.

    ``<name>.safetensors`` goes before ``<name>.pth``; without one of the names the folder must hold
    a single file with one of these endings. A ``.pth`` is read without executing anything it holds
    (tensors only). A dictionary under ``params_ema``, ``params`` or ``state_dict`` is unwrapped.

    Raises:
        WrongCheckpoint: no such file, several, or one that holds no tensors.
    """
    path = _find(folder, names)
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WrongCheckpoint(f"{path}: no file of tensors ({reason}); fetch it again") from error
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not all(
        isinstance(one, Tensor) for one in content.values()
    ):
        raise WrongCheckpoint(f"{path}: no dictionary of tensors; fetch the published file")
    return dict(content)


def fill(network: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Give a network its tensors; every key and every shape must agree.

    Raises:
        WrongCheckpoint: keys or shapes differ; the line names the first of them.
    """
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise WrongCheckpoint(f"{folder}: weights of another network ({reason})") from error


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for suffix in (".safetensors", ".pth"):
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    found = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".pth"))
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} weights files" if found else "no .safetensors or .pth file"
    raise WrongCheckpoint(f"{folder}: {what}; put exactly one there")
