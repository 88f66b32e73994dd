"""The device of this machine that networks run on, and the limits they keep to."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch

from models.data.settings import Residency, settings

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
GPU_BATCH = 8
VRAM_SHARE = 0.9


@dataclass(frozen=True)
class Machine:
    """Device, precision and limits of networks. None of it is part of an artifact's key.

    ``budget`` is the bytes of weights on the device at a time (None: no limit). ``residency`` says
    what happens when it is used up: ``offload`` moves the network that was used longest ago to main
    memory, ``evict`` drops it, ``all`` refuses to load more. ``batch`` is the number of images per
    batch. On a CPU it is 1: more gains nothing there, and an image's bytes then do not depend on
    the other images. ``compile`` compiles networks that run for many steps, and decoders
    (`models.runtime.compile`), with torch's backend ``compiler``. ``parts`` holds parts that
    several networks share (`models.runtime.loading.load_shared`); None: nothing is shared.
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
    """The machine as SYNTHSET_DEVICE, _DTYPE, _BATCH, _VRAM_GB, _RESIDENCY and _COMPILE set it.

    Default: the first GPU in float16 with 90 % of its memory as budget, or the CPU in float32.

    Raises:
        SettingsError: a variable has a value that can't be used.
    """
    chosen = settings()
    device = torch.device(chosen.device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    is_gpu = device.type == "cuda"
    budget = None
    if chosen.vram_gb is not None:
        budget = int(chosen.vram_gb * 1e9)
    elif is_gpu:
        budget = int(torch.cuda.get_device_properties(device).total_memory * VRAM_SHARE)
    return Machine(
        device=device,
        dtype=DTYPES[chosen.dtype or ("float16" if is_gpu else "float32")],
        batch=chosen.batch or (GPU_BATCH if is_gpu else 1),
        budget=budget,
        residency=chosen.residency,
        compile=chosen.compile,
    )


def describe_gpu() -> str | None:
    """Name and memory of the first GPU, or None if there is none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
