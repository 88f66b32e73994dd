"""A training loop that can be killed after any step and ends with the same weights."""

import contextlib
import logging
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.runtime.torch_state import one_torch_thread

log = logging.getLogger("synthset.models")

STATE = "state.pt"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast weights are trained; the learning rate is constant.

    Args:
        steps: updates of the weights.
        learning_rate: of AdamW.
        accumulation: losses, of a photo each, whose mean gives an update.
        max_norm: bound of the gradients' norm; None: no bound.
        save_every: steps between writes of the state file; the last step is always saved.
        weight_decay: of AdamW; 0 makes it Adam.
        average_decay: share of the old in a moving average of the weights; None: no average.
    """

    steps: int
    learning_rate: float
    accumulation: int = 1
    max_norm: float | None = None
    save_every: int = 100
    weight_decay: float = 0.01
    average_decay: float | None = None


def train_weights(
    weights: Sequence[nn.Parameter],
    loss_of: Callable[[int], Tensor],
    schedule: Schedule,
    folder: Path,
    progress: Callable[[Sequence[float]], None],
    averages: Sequence[Tensor] = (),
) -> list[float]:
    """Train weights in place and return the loss of every step.

    A training that was stopped continues from the state file of its folder, and repeats the steps
    after it. An exception that ``progress`` raises stops a training.

    Args:
        weights: float32 parameters.
        loss_of: from the number of a draw, its loss; equal numbers must draw equal noise.
        schedule: steps and learning rate.
        folder: of this training alone; it holds the state file.
        progress: called after each step with the losses of all steps so far.
        averages: changed in place into the moving averages of the weights; copies of them at the
            start. Empty if the schedule has no ``average_decay``.

    Raises:
        ValueError: a loss or a weight is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        weights, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    kept = [*weights, *averages]
    losses = _resume(folder / STATE, kept, optimizer)
    for step in range(len(losses), schedule.steps):
        optimizer.zero_grad()
        mean = 0.0
        for draw in range(step * schedule.accumulation, (step + 1) * schedule.accumulation):
            loss = loss_of(draw) / schedule.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            mean += loss.item()
        _require_finite(mean, len(losses) + 1, folder)
        if schedule.max_norm is not None:
            nn.utils.clip_grad_norm_(weights, schedule.max_norm)
        optimizer.step()
        if schedule.average_decay is not None:
            _move(averages, weights, 1 - schedule.average_decay)
        losses.append(mean)
        if len(losses) % schedule.save_every == 0 or len(losses) == schedule.steps:
            _save(folder / STATE, kept, optimizer, losses)
        progress(losses)
    for weight in weights:
        _require_finite(float(weight.detach().norm()), len(losses), folder)
    return losses


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch and choose operations that repeat; the former state is restored on exit.

    A CPU computes with one thread, since sums of several depend on their number.
    """
    with one_torch_thread(), torch.random.fork_rng():
        before = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.manual_seed(seed)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # warn_only: the gradients of some operations have no deterministic form on GPUs.
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def random_of(seed: int, draw: int) -> torch.Generator:
    """The generator of a draw, on the CPU; a resumed training needs no other state."""
    (state,) = np.random.SeedSequence((seed, draw)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state) >> 1)


def photo_of(seed: int, draw: int, photos: int) -> int:
    """The photo of a draw: each photo once, in a new order, before any is used again."""
    order = np.random.default_rng((seed, draw // photos)).permutation(photos)
    return int(order[draw % photos])


def _require_finite(number: float, step: int, folder: Path) -> None:
    """Check a loss, or the norm of a weight; such weights would draw no image."""
    if not math.isfinite(number):
        raise ValueError(
            f"{folder}: the training diverged at step {step} (a loss or weight is {number}); give "
            "a lower learning_rate"
        )


@torch.no_grad()
def _move(averages: Sequence[Tensor], weights: Sequence[Tensor], share: float) -> None:
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, share)


def _save(
    file: Path, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, losses: list[float]
) -> None:
    """Write the state file; it is renamed into place when it is complete."""
    state = {
        "weights": [weight.detach() for weight in weights],
        "optimizer": optimizer.state_dict(),
        "losses": losses,
    }
    part = file.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, file)


def _resume(file: Path, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> list[float]:
    """Copy the state of a stopped training, if any, and return the losses of its steps."""
    if not file.is_file():
        return []
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        # As after a power failure, since the file is not flushed to the disk.
        log.warning("%s can't be read (%s); the training starts again", file, error)
        return []
    with torch.no_grad():
        for weight, saved in zip(weights, state["weights"], strict=True):
            weight.copy_(saved)
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"])
