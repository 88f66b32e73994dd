"""What the machine offers to networks, and how much of it they may take."""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch

Residency = Literal["all", "offload", "evict"]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
GPU_BATCH = 8


class MachineError(ValueError):
    """A SYNTHSET_* variable that can't be used; the line names it and what it may be."""


@dataclass(frozen=True)
class Machine:
    """Where networks run, and within what bounds. None of it is part of an artifact's key.

    ``budget`` is the bytes of weights that may lie on the device at a time (None: no bound).
    ``residency`` says what happens to the least recently used network when the budget is full:
    ``all`` refuses to load more, ``offload`` moves it to main memory, ``evict`` drops it.
    ``batch`` is how many images a network gets at a time. On a CPU it is 1: more gains nothing
    there, and the bytes of an image then don't hang on its company. ``compile`` compiles the
    networks that run for many steps and their decoders (`models.runtime.compile`), by
    ``compiler``, a
    backend of torch's. ``parts`` keeps what several networks borrow
    (`models.runtime.pretrained`); None:
    each has its own.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int = 1
    budget: int | None = None
    residency: Residency = "offload"
    compile: bool = False
    compiler: str = "inductor"
    parts: MutableMapping[Any, Any] | None = field(default=None, compare=False, repr=False)


def this_machine() -> Machine:
    """The machine as SYNTHSET_DEVICE, _DTYPE, _BATCH, _VRAM_GB, _RESIDENCY and _COMPILE say it.

    Without them: the first GPU in float16 with 90 % of its memory as budget, or the CPU in float32.

    Raises:
        MachineError: a variable has a value that can't be used.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device(os.environ.get("SYNTHSET_DEVICE") or ("cuda:0" if on_gpu else "cpu"))
    on_gpu = device.type == "cuda"
    dtype = _choice("SYNTHSET_DTYPE", tuple(DTYPES), "float16" if on_gpu else "float32")
    residency = _choice("SYNTHSET_RESIDENCY", get_args(Residency), "offload")
    return Machine(
        device=device,
        dtype=DTYPES[dtype],
        batch=int(_number("SYNTHSET_BATCH", GPU_BATCH if on_gpu else 1)),
        budget=_budget(device),
        residency=cast(Residency, residency),
        compile=_choice("SYNTHSET_COMPILE", ("0", "1"), "0") == "1",
    )


def describe_gpu() -> str | None:
    """Name and memory of the first GPU, or None where there is none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _budget(device: torch.device) -> int | None:
    if os.environ.get("SYNTHSET_VRAM_GB"):
        return int(_number("SYNTHSET_VRAM_GB", 0) * 1e9)
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory * 0.9)


def _choice(name: str, choices: tuple[str, ...], default: str) -> str:
    given = os.environ.get(name) or default
    if given not in choices:
        raise MachineError(f"{name}={given}: give one of {', '.join(choices)}")
    return given


def _number(name: str, default: float) -> float:
    given = os.environ.get(name) or str(default)
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise MachineError(f"{name}={given}: give a number above 0")
    return number
