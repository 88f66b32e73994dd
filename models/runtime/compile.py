"""Compile networks if ``SYNTHSET_COMPILE`` is set, and pad batches to few different sizes.

PyTorch calls this regional compilation: only repeated blocks are compiled, that is the transformer
and residual blocks of U-Nets, ControlNets and decoders. Blocks of equal shapes share a graph, so
compiling is much shorter and the network nearly as fast. A graph is for one shape; batches are
padded to 1, 2, 4, 8, ... images so that a run needs few graphs.
"""

import contextlib
import os
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import platformdirs
import torch
from torch import nn

from models.runtime.hardware import Machine

# Blocks of these classes of diffusers, and of ADM's U-Net, take nearly all the time of a step.
BLOCKS = frozenset(
    {"BasicTransformerBlock", "ResnetBlock2D", "AdmResidualBlock", "AdmAttentionBlock"}
)
# Encoders run once per photo or scene: compiling them costs more time than it saves.
ENCODER_PREFIX = "encoder."
# By default the compiler stops at 8 graphs of a function. All blocks count as one function, and
# need a graph per width, batch size and network.
MAX_GRAPHS = 4096
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

T = TypeVar("T")
_compiled: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def compile_blocks(network: nn.Module, machine: Machine) -> None:
    """Mark a network's repeated blocks for compilation, if the machine says so.

    Each graph is built with its first batch, which takes seconds to a minute, and is kept on disk
    for the next process. Networks without such blocks are not changed, nor are compiled ones.
    """
    if not machine.compile or network in _compiled:
        return
    blocks = [
        module
        for name, module in network.named_modules()
        if type(module).__name__ in BLOCKS and not name.startswith(ENCODER_PREFIX)
    ]
    if not blocks:
        return
    _keep_on_disk()
    for block in blocks:
        block.compile(dynamic=False, backend=machine.compiler)
    _compiled.add(network)


def is_compiled(modules: Sequence[nn.Module]) -> bool:
    """Whether one of these networks has compiled blocks."""
    return any(module in _compiled for module in modules)


def pad_to_bucket(batch: Sequence[T], at_most: int) -> Sequence[T]:
    """The batch with copies of its last item, up to the next power of two or ``at_most`` items."""
    bucket = min(1 << (len(batch) - 1).bit_length(), max(at_most, len(batch)))
    return [*batch, *[batch[-1]] * (bucket - len(batch))]


def room_for_graphs(modules: Sequence[nn.Module]) -> AbstractContextManager[Any]:
    """Let this thread's compiler keep as many graphs as the blocks of all networks need."""
    if not is_compiled(modules):
        return contextlib.nullcontext()
    from torch._dynamo import config

    room: AbstractContextManager[Any] = config.patch(
        recompile_limit=MAX_GRAPHS, accumulated_recompile_limit=MAX_GRAPHS
    )
    return room


def uncompiled(modules: Sequence[nn.Module]) -> AbstractContextManager[Any]:
    """Run compiled networks without their graphs, for work that is done once.

    A second try in another precision is such work: compiling for it would take longer.
    """
    if not is_compiled(modules):
        return contextlib.nullcontext()
    eager: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return eager


def _keep_on_disk() -> None:
    """Keep compiled graphs in the user's cache folder, unless another is set or it is read-only."""
    folder = platformdirs.user_cache_path("synthset") / "compiled"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ.setdefault(CACHE_VARIABLE, str(folder))
