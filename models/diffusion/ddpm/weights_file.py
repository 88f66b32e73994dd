"""Trained weights and the settings that they need, in a single safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.data.records import Record
from models.runtime.loading import WrongCheckpointError

# Name of the settings in the metadata of a file.
SETTINGS = "synthset"

Settings = TypeVar("Settings", bound=Record)


def save_weights(settings: Record, weights: Mapping[str, Tensor], file: Path) -> None:
    """Write weights by their names, and settings as JSON in the metadata of the file."""
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    # One entry: safetensors writes several in a random order.
    save_file(tensors, file, metadata={SETTINGS: settings.model_dump_json()})


def read_weights(kind: type[Settings], file: Path) -> tuple[Settings, dict[str, Tensor]]:
    """The settings and the weights that `save_weights` wrote.

    Raises:
        WrongCheckpointError: the file can't be read, or holds other settings.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})[SETTINGS])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return kind.model_validate(about), weights
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise WrongCheckpointError(
            f"{file}: no weights with settings of {kind.__name__} ({reason}); train again"
        ) from None


def holds(kind: type[Record], file: Path) -> bool:
    """Whether a file has weights with settings of this kind."""
    try:
        with safe_open(file, framework="pt") as opened:
            kind.model_validate(json.loads((opened.metadata() or {})[SETTINGS]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return False
    return True
