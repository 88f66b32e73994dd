"""Networks of transformers from a local folder in the published layout, checked key by key."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from models.hardware import Machine

SHOWN = 3


class WrongCheckpoint(ValueError):
    """A folder that does not hold the weights that its network needs; the line names both."""


def load_strictly(kind: Any, folder: Path, machine: Machine, *, unread: Sequence[str] = ()) -> Any:
    """A network of transformers for inference, on the machine's device and in its dtype.

    transformers fills weights that a file lacks with random numbers and only logs it; here that is
    an error, and so are weights that the network has no place for.

    Args:
        kind: its class, such as ``DPTForDepthEstimation``.
        folder: ``config.json`` and safetensors files; nothing is fetched and no code is run.
        machine: where it goes.
        unread: beginnings of names of weights that the network has but never reads, so that a
            published file may lack them.

    Raises:
        WrongCheckpoint: the folder has no safetensors file, or the weights don't fit.
    """
    try:
        with _quiet():
            network, found = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
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
        "of another shape": [one[0] for one in found["mismatched_keys"]],
    }
    told = "; ".join(f"{what}: {_named(names)}" for what, names in wrong.items() if names)
    if told:
        raise WrongCheckpoint(
            f"{folder}: its weights are not those of {kind.__name__} ({told}); fetch it again"
        )
    network = network.to(machine.device).eval().requires_grad_(False)
    if machine.device.type == "cuda":
        network = network.to(memory_format=torch.channels_last)
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its progress bars and its report on weights, which is judged above."""
    from transformers.utils import logging as its

    log, bars = logging.getLogger("transformers"), its.is_progress_bar_enabled()
    level = log.level
    try:
        its.disable_progress_bar()
        log.setLevel(logging.ERROR)
        yield
    finally:
        log.setLevel(level)
        if bars:
            its.enable_progress_bar()


def _named(names: Sequence[str] | set[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
