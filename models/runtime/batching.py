"""Run networks on batches of images: memory, precision, noise, conversion of pixels.

A network's wrapper gives `run_batched` a function that computes a batch. Memory that runs out and
numbers that are not finite are handled here for all networks.
"""

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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
K = TypeVar("K", bound=Hashable)

Run = Callable[[Sequence[T]], Sequence[Tensor]]

# Frees device memory when it runs out; returns whether anything was freed.
_free_memory: ContextVar[Callable[[], bool]] = ContextVar("free_memory", default=lambda: False)
OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "status_alloc_failed",
)


@dataclass(frozen=True)
class InvalidOutput:
    """A result that no stage may use, and the reason for its rejection."""

    reason: str


class OutOfMemoryError(RuntimeError):
    """A network or an image does not fit into memory, with no other network on the device."""


def run_batched(
    run: Run[T], items: Sequence[T], *, at_most: int, modules: Sequence[nn.Module]
) -> Iterator[Tensor | InvalidOutput]:
    """Run a network over items, ``at_most`` at a time; one result per item, in order.

    When memory runs out the batch is halved for the rest of this call; for a single item
    `retry_on_oom` frees memory. A result that is not finite is computed again, alone and in
    float32. It is `InvalidOutput` if that does not help or does not fit.

    Args:
        run: computes a floating-point tensor per item of a batch, in the dtype of ``modules``. An
            item's result must not depend on the other items, so the function creates one noise
            generator per item in each call.
        items: what to compute.
        at_most: items per batch, 1 or more.
        modules: the networks that ``run`` uses; cast to float32 and back for the second try.

    Raises:
        OutOfMemoryError: a single item does not fit.
    """
    size, first = max(1, at_most), 0
    while first < len(items):
        batch = items[first : first + size]
        results = _results(run, batch, size, modules)
        if results is None:
            size = max(1, len(batch) // 2)
            log.warning("memory ran out with %d images per batch; trying %d", len(batch), size)
            continue
        for item, result, finite in zip(batch, results, _are_finite(results), strict=True):
            yield result if finite else _again_in_float32(run, item, modules)
        first += len(batch)


def compute_in_groups(keys: Sequence[K], compute: Callable[[K, list[int]], Iterable[T]]) -> list[T]:
    """Results in the order of ``keys``; positions with equal keys are computed together.

    Args:
        keys: what must be equal for items that share a batch, such as image size and settings.
        compute: takes a key and the positions that have it; returns one result per position.
    """
    groups: dict[K, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    results: dict[int, T] = {}
    for key, positions in groups.items():
        results.update(zip(positions, compute(key, positions), strict=True))
    return [results[position] for position in range(len(keys))]


def retry_on_oom(compute: Callable[[], T], what: str = "one image") -> T:
    """The result of ``compute``; if memory runs out, of a second call with other networks evicted.

    Raises:
        OutOfMemoryError: that does not help, or `evicting` is not active; names ``what``.
    """
    while True:
        try:
            return compute()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            message = (
                str(error) if isinstance(error, OutOfMemoryError) else _does_not_fit(what, error)
            )
        # Not in the handler: its traceback keeps alive what the attempt had on the device.
        release_memory()
        if not _free_memory.get()():
            raise OutOfMemoryError(message)


@contextlib.contextmanager
def evicting(free_memory: Callable[[], bool]) -> Iterator[None]:
    """Let `retry_on_oom` call ``free_memory``, which returns whether it freed anything."""
    before = _free_memory.set(free_memory)
    try:
        yield
    finally:
        _free_memory.reset(before)


def _results(
    run: Run[T], batch: Sequence[T], at_most: int, modules: Sequence[nn.Module]
) -> Sequence[Tensor] | None:
    """The results of a batch, one per item; None if memory ran out and the batch can be halved."""
    padded = pad_to_bucket(batch, at_most) if is_compiled(modules) else batch
    with room_for_graphs(modules):
        if len(batch) == 1:
            return retry_on_oom(lambda: run(padded))[:1]
        try:
            return run(padded)[: len(batch)]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
    release_memory()
    return None


def _again_in_float32(run: Run[T], item: T, modules: Sequence[nn.Module]) -> Tensor | InvalidOutput:
    log.warning("a result is not finite; computing it again in float32")

    def compute() -> Tensor:
        with uncompiled(modules), in_float32(modules):
            return run([item])[0]

    try:
        result = retry_on_oom(compute)
    except OutOfMemoryError:
        return InvalidOutput(
            "the network gave no finite numbers, and float32 does not fit into memory"
        )
    if torch.isfinite(result).all():
        return result
    return InvalidOutput("the network gave no finite numbers")


@contextlib.contextmanager
def in_float32(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Cast networks to float32, and back afterwards (exact for float16 and bfloat16)."""
    dtypes = [(module, dtype_of(module)) for module in modules]
    # Networks in float32 are skipped: casting visits every parameter.
    before = [(module, dtype) for module, dtype in dtypes if dtype is not torch.float32]
    try:
        for module, _ in before:
            _cast(module, torch.float32)
        yield
    finally:
        for module, dtype in before:
            _cast_back(module, dtype)


def _cast_back(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast on the CPU if the device has no memory for both dtypes of a weight."""
    try:
        _cast(module, dtype)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        device = device_of(module)
        _cast(module.to("cpu"), dtype)
        to_device(module, device)


def _cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Avoid the ``to`` of diffusers, which warns of every cast, also of exact ones."""
    nn.Module.to(module, dtype)


def to_device(module: nn.Module, device: torch.device) -> None:
    """Move a network to a device; on a GPU in the memory layout that makes convolutions fast."""
    module.to(device)
    if device.type == "cuda":
        module.to(memory_format=torch.channels_last)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a network's first floating-point parameter."""
    return next(weight.dtype for weight in module.parameters() if weight.is_floating_point())


def device_of(module: nn.Module) -> torch.device:
    """The device of a network's first parameter."""
    return next(module.parameters()).device


def generator(seed: int) -> torch.Generator:
    """A generator on the CPU, so that a seed (0 .. 2**63 - 1) gives all devices the same noise."""
    return torch.Generator("cpu").manual_seed(seed)


def noise_like(shape: Sequence[int], generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Gaussian noise [B, *shape] in the dtype and on the device of ``like``.

    Each image's noise is drawn in float32 from its own generator.
    """
    noise = [torch.randn(tuple(shape), generator=own, dtype=torch.float32) for own in generators]
    return torch.stack(noise).to(device=like.device, dtype=like.dtype)


def as_tensor(images: Sequence[npt.NDArray[np.uint8]], like: nn.Module) -> Tensor:
    """RGB uint8 images HxWx3 of one size as [B, 3, H, W] in 0..1, dtype and device of a network."""
    stacked = torch.from_numpy(np.stack([image[..., :3] for image in images]))
    moved = stacked.to(device_of(like)).permute(0, 3, 1, 2)
    return moved.to(dtype_of(like)) / 255.0


def as_uint8(image: Tensor) -> npt.NDArray[np.uint8]:
    """[C, H, W] in 0..1 as HxWxC uint8 (HxW for one channel), rounded on the device."""
    levels = (image.float().clamp(0, 1) * 255.0).round().to(torch.uint8)
    channels_last = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return channels_last[..., 0] if channels_last.shape[-1] == 1 else channels_last


def release_memory() -> None:
    """Return the GPU memory that torch caches to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _are_finite(results: Sequence[Tensor]) -> list[bool]:
    """Whether each result is finite; waits for the device once."""
    flags: list[bool] = torch.stack([torch.isfinite(result).all() for result in results]).tolist()
    return flags


def _is_out_of_memory(error: RuntimeError) -> bool:
    if isinstance(error, torch.OutOfMemoryError | OutOfMemoryError):
        return True
    return any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)


def _does_not_fit(what: str, error: RuntimeError) -> str:
    return (
        f"{what} does not fit into memory ({' '.join(str(error).split())[:160]}); "
        "free the device, set SYNTHSET_RESIDENCY=evict, or make images smaller"
    )
