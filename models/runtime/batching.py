"""What all networks share when they run on many images: batch sizes, precision, noise, bytes.

A wrapper hands `guarded` a function that runs its network on a batch; memory that runs out and
numbers that overflow are dealt with here, once, for every network.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.runtime.compile import is_compiled, pad_to_bucket, room_for_graphs, uncompiled

log = logging.getLogger("synthset.models")

T = TypeVar("T")

Run = Callable[[Sequence[T]], Sequence[Tensor]]

# How room is made on the device when memory runs out; whether there was any to make.
_room: ContextVar[Callable[[], bool]] = ContextVar("room", default=lambda: False)
_SHORT = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


@dataclass(frozen=True)
class InvalidOutput:
    """A result that no stage may use, with the reason that its rejection is given."""

    reason: str


class OutOfMemory(RuntimeError):
    """What does not fit into memory, with no other network on the device; says what to do."""


def run_batched(
    run: Run[T], items: Sequence[T], *, at_most: int, modules: Sequence[nn.Module]
) -> Iterator[Tensor | InvalidOutput]:
    """Run a network over items, ``at_most`` at a time; one result per item, in order.

    When memory runs out the batch is halved, and stays so for this call; for a single item
    `fitting` makes room. A result that is not finite is computed once more, alone and in float32,
    and is `InvalidOutput` if that does not help or does not fit.

    Args:
        run: computes a floating-point tensor per item of a batch, in the dtype of ``modules``. It
            must give an item the same result alone and in company, so it draws its noise from one
            generator per item, made anew in each call.
        items: what to compute.
        at_most: items per batch, 1 or more.
        modules: the networks that ``run`` uses; cast to float32 and back for the second try.

    Raises:
        OutOfMemory: a single item does not fit.
    """
    size, first = max(1, at_most), 0
    while first < len(items):
        batch = items[first : first + size]
        results = _results(run, batch, size, modules)
        if results is None:
            size = max(1, len(batch) // 2)
            log.warning("memory ran out with %d images at once; going on with %d", len(batch), size)
            continue
        for item, result, finite in zip(batch, results, _are_finite(results), strict=True):
            yield result if finite else _again_in_float32(run, item, modules)
        first += len(batch)


def retry_on_oom(compute: Callable[[], T], what: str = "one image") -> T:
    """What ``compute`` gives; if memory runs out, of a second try with no other network beside it.

    Raises:
        OutOfMemory: that does not help, or `making_room` knows no way; names ``what``.
    """
    while True:
        try:
            return compute()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            told = str(error) if isinstance(error, OutOfMemory) else _does_not_fit(what, error)
        # Not within the handler: its traceback holds whatever the attempt had on the device.
        release_memory()
        if not _room.get()():
            raise OutOfMemory(told)


@contextlib.contextmanager
def evicting(make: Callable[[], bool]) -> Iterator[None]:
    """Within it, `fitting` calls ``make`` when memory runs out: to free what it can of the device,
    and to tell whether that was anything."""
    before = _room.set(make)
    try:
        yield
    finally:
        _room.reset(before)


def _results(
    run: Run[T], batch: Sequence[T], at_most: int, modules: Sequence[nn.Module]
) -> Sequence[Tensor] | None:
    """The results of a batch, one per item; None if memory ran out and the batch can be halved."""
    given = pad_to_bucket(batch, at_most) if is_compiled(modules) else batch
    with room_for_graphs(modules):
        if len(batch) == 1:
            return retry_on_oom(lambda: run(given))[:1]
        try:
            return run(given)[: len(batch)]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
    release_memory()
    return None


def _again_in_float32(run: Run[T], item: T, modules: Sequence[nn.Module]) -> Tensor | InvalidOutput:
    log.warning("a result is not finite; computing it again in float32")

    def again() -> Tensor:
        with uncompiled(modules), in_float32(modules):
            return run([item])[0]

    try:
        result = retry_on_oom(again)
    except OutOfMemory:
        return InvalidOutput(
            "the network gave no finite numbers, and float32 does not fit into memory"
        )
    (finite,) = _are_finite([result])
    return result if finite else InvalidOutput("the network gave no finite numbers")


@contextlib.contextmanager
def in_float32(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Networks cast to float32, and back to what they were (exact for float16 and bfloat16)."""
    dtypes = [(module, dtype_of(module)) for module in modules]
    # Walking through a network that is in float32 already takes as long as a tiny one's work.
    before = [(module, dtype) for module, dtype in dtypes if dtype is not torch.float32]
    try:
        for module, _ in before:
            _cast(module, torch.float32)
        yield
    finally:
        for module, dtype in before:
            _cast_back(module, dtype)


def _cast_back(module: nn.Module, dtype: torch.dtype) -> None:
    """Also where memory has just run out, and there may be no room for both dtypes of a weight."""
    try:
        _cast(module, dtype)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        device = device_of(module)
        _cast(module.to("cpu"), dtype)
        place(module, device)


def _cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Past the ``to`` of diffusers, which warns of every cast, the exact ones too."""
    nn.Module.to(module, dtype)


def place(module: nn.Module, device: torch.device) -> None:
    """Move a network to a device, into the memory layout that convolutions are fast in there."""
    module.to(device)
    if device.type == "cuda":
        module.to(memory_format=torch.channels_last)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a network's first floating-point parameter."""
    return next(one.dtype for one in module.parameters() if one.is_floating_point())


def device_of(module: nn.Module) -> torch.device:
    """The device of a network's first parameter."""
    return next(module.parameters()).device


def generator(seed: int) -> torch.Generator:
    """A generator on the CPU, so that a seed gives the same noise whatever the device.

    Args:
        seed: 0 .. 2**63 - 1.
    """
    return torch.Generator("cpu").manual_seed(seed)


def noise_like(shape: Sequence[int], generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Gaussian noise [B, *shape]: a float32 draw from each image's own generator, then cast to the
    dtype and device of ``like``.
    """
    drawn = [torch.randn(tuple(shape), generator=one, dtype=torch.float32) for one in generators]
    return torch.stack(drawn).to(device=like.device, dtype=like.dtype)


def as_tensor(images: Sequence[npt.NDArray[np.uint8]], like: nn.Module) -> Tensor:
    """RGB uint8 images HxWx3 of one size as [B, 3, H, W] in 0..1, dtype and device of a network."""
    stacked = torch.from_numpy(np.stack([np.ascontiguousarray(one[..., :3]) for one in images]))
    moved = stacked.to(device_of(like)).permute(0, 3, 1, 2)
    return moved.to(dtype_of(like)) / 255.0


def as_uint8(image: Tensor) -> npt.NDArray[np.uint8]:
    """[C, H, W] in 0..1 as HxWxC uint8 (HxW for one channel), rounded on the device."""
    levels = (image.float().clamp(0, 1) * 255.0).round().to(torch.uint8)
    channels_last = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return channels_last[..., 0] if channels_last.shape[-1] == 1 else channels_last


def release_memory() -> None:
    """Give the device's cached memory back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _are_finite(results: Sequence[Tensor]) -> list[bool]:
    """Which results are finite, with one wait for the device."""
    found: list[bool] = torch.stack([torch.isfinite(one).all() for one in results]).tolist()
    return found


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | OutOfMemory) or any(
        one in text for one in _SHORT
    )


def _does_not_fit(what: str, error: RuntimeError) -> str:
    return (
        f"{what} does not fit into memory ({' '.join(str(error).split())[:160]}); "
        "free the device, set SYNTHSET_RESIDENCY=evict, or make images smaller"
    )
