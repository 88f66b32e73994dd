"""What all networks share when they run on many images: batch sizes, precision, noise, bytes.

A wrapper hands `guarded` a function that runs its network on a batch; memory that runs out and
numbers that overflow are dealt with here, once, for every network.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

log = logging.getLogger("synthset.models")

T = TypeVar("T")


@dataclass(frozen=True)
class Unusable:
    """A result that no stage may use, with the reason that its rejection is given."""

    reason: str


class OutOfMemory(RuntimeError):
    """Even a batch of one does not fit; the line says what to do."""


def guarded(
    run: Callable[[Sequence[T]], Sequence[Tensor]],
    items: Sequence[T],
    *,
    at_most: int,
    modules: Sequence[nn.Module],
) -> Iterator[Tensor | Unusable]:
    """Run a network over items, ``at_most`` at a time; one result per item, in order.

    When memory runs out the batch is halved, and stays so for this call. A result that is not
    finite is computed once more, alone and in float32, and is `Unusable` if that does not help.

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
        try:
            results = run(batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise OutOfMemory(
                    f"one image does not fit into memory ({' '.join(str(error).split())[:160]}); "
                    "free the device, set SYNTHSET_RESIDENCY=evict, or make images smaller"
                ) from error
            size = max(1, len(batch) // 2)
            log.warning("memory ran out with %d images at once; going on with %d", len(batch), size)
        else:
            for item, result in zip(batch, results, strict=True):
                yield result if _is_finite(result) else _again_in_float32(run, item, modules)
            first += len(batch)
            continue
        release_memory()


def _again_in_float32(
    run: Callable[[Sequence[T]], Sequence[Tensor]], item: T, modules: Sequence[nn.Module]
) -> Tensor | Unusable:
    log.warning("a result is not finite; computing it again in float32")
    with in_float32(modules):
        result = run([item])[0]
    return result if _is_finite(result) else Unusable("the network gave no finite numbers")


@contextlib.contextmanager
def in_float32(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Networks cast to float32, and back to what they were (exact for float16 and bfloat16)."""
    before = [(module, dtype_of(module)) for module in modules]
    try:
        for module in modules:
            module.to(torch.float32)
        yield
    finally:
        for module, dtype in before:
            module.to(dtype)


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


def _is_finite(result: Tensor) -> bool:
    return bool(torch.isfinite(result).all())


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
