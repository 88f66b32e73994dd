"""Compiled networks behind the switch ``SYNTHSET_COMPILE``, in batches of few different sizes.

What repeats is compiled, not whole networks: the transformer and the residual blocks of U-Nets,
ControlNets and decoders. Blocks of equal shapes share a graph, so that compiling takes a fraction
of the time and runs nearly as fast (regional compilation, in PyTorch's words). Graphs hold for one
shape each; so that a run needs few of them, batches are filled up to 1, 2, 4, 8, ... images.
"""

import contextlib
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from models.runtime.hardware import Machine

# Blocks of these classes of diffusers take nearly all the time of what runs for many steps.
BLOCKS = frozenset({"BasicTransformerBlock", "ResnetBlock2D"})
# Encoders run once per photo or scene, which would not pay for their graphs.
_LEFT_OUT = "encoder."
# The compiler gives up at 8 graphs of a function, and takes all blocks for one: theirs are as many
# as there are widths, buckets and networks.
GRAPHS = 4096
CACHE = "TORCHINDUCTOR_CACHE_DIR"

T = TypeVar("T")
_compiled: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def compile_blocks(network: nn.Module, machine: Machine) -> None:
    """Compile a network's repeated blocks, where the machine wants it; once, however often asked.

    Nothing is compiled yet: each graph is built when its first batch comes, which takes seconds to
    a minute, and is kept on disk for the next process. Networks without such blocks stay as they
    are.
    """
    if not machine.compile or network in _compiled:
        return
    blocks = [
        module
        for name, module in network.named_modules()
        if type(module).__name__ in BLOCKS and not name.startswith(_LEFT_OUT)
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
    """A batch with copies of its last item, up to the next power of two, but ``at_most`` items."""
    bucket = min(1 << (len(batch) - 1).bit_length(), max(at_most, len(batch)))
    return [*batch, *[batch[-1]] * (bucket - len(batch))]


@contextlib.contextmanager
def room_for_graphs(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, this thread's compiler keeps as many graphs as the blocks of all networks need."""
    if not is_compiled(modules):
        yield
        return
    from torch._dynamo import config

    room: Any = config.patch(recompile_limit=GRAPHS, accumulated_recompile_limit=GRAPHS)
    with room:
        yield


@contextlib.contextmanager
def uncompiled(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, compiled networks run as they are: for what happens once, such as a second try in
    another precision, for which no graph is worth its time."""
    if not is_compiled(modules):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _keep_on_disk() -> None:
    """The compiler's cache where it outlives a reboot, unless its place is set or it can't be
    written to."""
    folder = Path.home() / ".cache" / "synthset" / "compiled"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ.setdefault(CACHE, str(folder))
