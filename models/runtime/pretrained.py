"""Networks of transformers and diffusers from a local folder in the published layout, checked key
by key.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from models.runtime.batching import place
from models.runtime.compile import compile_blocks
from models.runtime.hardware import Machine
from models.runtime.quiet import quiet

SHOWN = 3
_HALF = (torch.float16, torch.bfloat16)
_TALKATIVE = ("transformers", "diffusers.models.modeling_utils", "diffusers.configuration_utils")


class WrongCheckpoint(ValueError):
    """A folder that does not hold the weights that its network needs; the line names both."""


def load_strictly(kind: Any, folder: Path, machine: Machine, *, unread: Sequence[str] = ()) -> Any:
    """A network for inference, on the machine's device and in its dtype, compiled if it says so.

    The libraries fill weights that a file lacks with random numbers and only log it; here that is
    an error, and so are weights that the network has no place for. Where a folder holds files in
    full and in half precision (``*.fp16.safetensors``), a machine that computes in half precision
    reads the smaller ones.

    Args:
        kind: its class, such as ``DPTForDepthEstimation``.
        folder: ``config.json`` and safetensors files; nothing is fetched and no code is run.
        machine: where it goes.
        unread: beginnings of names of weights that the network has but never reads, so that a
            published file may lack them.

    Raises:
        WrongCheckpoint: the folder has no safetensors file, or the weights don't fit.
    """
    names = [path.name for path in folder.glob("*.safetensors*")] if folder.is_dir() else []
    if not names or not (folder / "config.json").is_file():
        raise WrongCheckpoint(
            f"{folder}: no config.json with safetensors weights of {kind.__name__}; fetch it again"
        )
    half = [name for name in names if ".fp16." in name]
    use_half = bool(half) and (machine.dtype in _HALF or len(half) == len(names))
    try:
        # What they report of the weights is judged below.
        with quiet(*_TALKATIVE), _no_bars():
            network, found = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                variant="fp16" if use_half else None,
                dtype=machine.dtype,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise WrongCheckpoint(
            f"{folder}: no checkpoint of {kind.__name__} ({told}); fetch it again"
        ) from error
    missing = [one for one in found["missing_keys"] if not one.startswith(tuple(unread))]
    wrong = {
        "missing": missing,
        "unexpected": found["unexpected_keys"],
        "of another shape": [one[0] for one in found.get("mismatched_keys") or ()],
    }
    told = "; ".join(f"{what}: {_named(names)}" for what, names in wrong.items() if names)
    if told:
        raise WrongCheckpoint(
            f"{folder}: its weights are not those of {kind.__name__} ({told}); fetch it again"
        )
    network = network.eval().requires_grad_(False)
    place(network, machine.device)
    compile_blocks(network, machine)
    return network


def load_shared(kind: Any, folder: Path, machine: Machine) -> Any:
    """As `load_strictly`, but once for all that borrow it from a machine that keeps ``parts``.

    Nobody may fill it with other weights; whoever wants to do that loads a network of his own.
    """
    if machine.parts is None:
        return load_strictly(kind, folder, machine)
    name = kind, folder, machine.dtype
    part = machine.parts.get(name)
    if part is None:
        part = machine.parts[name] = load_strictly(kind, folder, machine)
    return part


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    from transformers.utils import logging as its

    shown = its.is_progress_bar_enabled()
    its.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            its.enable_progress_bar()


def _named(names: Sequence[str] | set[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
