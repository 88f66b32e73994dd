"""Load networks from local folders and check every weight by name and shape."""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoints.convert import unwrap
from models.checkpoints.errors import NotTensorsError
from models.data.settings import restrict_libraries
from models.runtime.batching import to_device
from models.runtime.compile import compile_blocks
from models.runtime.hardware import Machine

# Names of weights in an error line.
SHOWN_NAMES = 3
HALF_PRECISION = (torch.float16, torch.bfloat16)
VERBOSE_LOGGERS = (
    "transformers",
    "diffusers.models.modeling_utils",
    "diffusers.configuration_utils",
)


class WrongCheckpointError(ValueError):
    """A folder does not hold the weights that its network needs; the line names both."""


def load_strictly(kind: Any, folder: Path, machine: Machine, *, unread: Sequence[str] = ()) -> Any:
    """A network of transformers or diffusers for inference, on the machine's device and dtype.

    The libraries fill missing weights with random numbers and only log it. Here missing, unexpected
    and misshapen weights are errors. If a folder holds files in full and in half precision
    (``*.fp16.safetensors``), a machine that computes in half precision reads the smaller ones. The
    network is compiled if the machine says so.

    Args:
        folder: ``config.json`` and safetensors files. Nothing is downloaded, no code is executed.
        unread: prefixes of weights that the network has but never reads; a file may lack them.

    Raises:
        WrongCheckpointError: the folder has no safetensors file, or the weights don't fit.
    """
    restrict_libraries()
    names = [path.name for path in folder.glob("*.safetensors*")] if folder.is_dir() else []
    if not names or not (folder / "config.json").is_file():
        raise WrongCheckpointError(
            f"{folder}: no config.json with safetensors weights of {kind.__name__}; fetch it again"
        )
    half = [name for name in names if ".fp16." in name]
    use_half = bool(half) and (machine.dtype in HALF_PRECISION or len(half) == len(names))
    try:
        with silence_loggers(*VERBOSE_LOGGERS), _no_progress_bars():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                variant="fp16" if use_half else None,
                dtype=machine.dtype,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WrongCheckpointError(
            f"{folder}: no checkpoint of {kind.__name__} ({reason}); fetch it again"
        ) from error
    _require_no_faults(kind, folder, report, unread)
    network = network.eval().requires_grad_(False)
    to_device(network, machine.device)
    compile_blocks(network, machine)
    return network


def load_shared(kind: Any, folder: Path, machine: Machine) -> Any:
    """As `load_strictly`, but one network for all callers, if the machine keeps shared ``parts``.

    Callers must not change its weights. For that, load a separate network.
    """
    if machine.parts is None:
        return load_strictly(kind, folder, machine)
    key = kind, folder, machine.dtype
    part = machine.parts.get(key)
    if part is None:
        part = machine.parts[key] = load_strictly(kind, folder, machine)
    return part


def read_json(file: Path) -> dict[str, Any]:
    """The content of a checkpoint's JSON file.

    Raises:
        WrongCheckpointError: the file is missing or holds no JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongCheckpointError(f"{file}: can't be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise WrongCheckpointError(f"{file}: holds no JSON object; fetch it again")
    return content


def read_tensors(folder: Path, *names: str) -> dict[str, Tensor]:
    """The tensors of the one weights file in a folder, on the CPU, by their keys.

    ``<name>.safetensors`` is preferred to ``<name>.pth``. If none of the names exists, the folder
    must hold a single file with one of these endings. A ``.pth`` is read without executing code. A
    dictionary under ``params_ema``, ``params`` or ``state_dict`` is unwrapped.

    Raises:
        WrongCheckpointError: no such file, several, or one that holds no tensors.
    """
    path = _find_weights(folder, names)
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return unwrap(torch.load(path, map_location="cpu", weights_only=True), path)
    except NotTensorsError:
        raise WrongCheckpointError(
            f"{path}: no dictionary of tensors; fetch the published file"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WrongCheckpointError(
            f"{path}: no file of tensors ({reason}); fetch it again"
        ) from error


def fill(network: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into a network; every key and every shape must agree.

    Raises:
        WrongCheckpointError: keys or shapes differ; the line names the first of them.
    """
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise WrongCheckpointError(
            f"{folder}: weights of another network ({reason}); fetch it again"
        ) from error


@contextlib.contextmanager
def silence_loggers(*names: str) -> Iterator[None]:
    """Raise the level of these loggers to ERROR. Not safe for several threads at once."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _require_no_faults(
    kind: Any, folder: Path, report: dict[str, Any], unread: Sequence[str]
) -> None:
    """Raise if the libraries' loading report names weights that don't fit."""
    missing = [name for name in report["missing_keys"] if not name.startswith(tuple(unread))]
    faults = {
        "missing": missing,
        "unexpected": report["unexpected_keys"],
        "of another shape": [row[0] for row in report.get("mismatched_keys") or ()],
    }
    text = "; ".join(f"{what}: {_shorten(names)}" for what, names in faults.items() if names)
    if text:
        raise WrongCheckpointError(
            f"{folder}: its weights are not those of {kind.__name__} ({text}); fetch it again"
        )


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


def _shorten(names: Sequence[str] | set[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN_NAMES])
    more = len(names) - SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _find_weights(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for suffix in (".safetensors", ".pth"):
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    found = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".pth"))
    if len(found) == 1:
        return found[0]
    fault = f"{len(found)} weights files" if found else "no .safetensors or .pth file"
    raise WrongCheckpointError(f"{folder}: {fault}; put exactly one there")
