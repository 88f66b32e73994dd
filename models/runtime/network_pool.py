"""Networks of this process: loaded once, within the device's memory budget, one at a time at work.

Stages reach networks only through `infer`. Threads that process different photos use the same
networks: the thread that gets the device next also computes the requests that others have queued,
so that batches contain several photos.

Networks may share a part (`models.runtime.loading.load_shared`), as both uses of SDXL do. A part
stays on the device while one of its networks is there, and is freed with the last of them.
"""

import gc
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import nn

from models.checkpoints.local import locate
from models.data.settings import restrict_libraries
from models.runtime.batching import (
    OutOfMemoryError,
    evicting,
    release_memory,
    retry_on_oom,
    to_device,
)
from models.runtime.hardware import Machine, this_machine

log = logging.getLogger("synthset.models")

# A checkpoint as ``id@revision``, or a folder with weights.
Weights = str | Path


class Network(Protocol):
    """A network with everything it needs to turn requests into results."""

    modules: tuple[nn.Module, ...]

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Network":
        """The network, on the machine's device, from one folder per checkpoint.

        Raises:
            WrongCheckpointError: weights are missing or belong to another network.
        """

    def compute(self, requests: Sequence[Any]) -> Iterator[Any]:
        """A result, or `models.runtime.batching.InvalidOutput`, per request, in their order.

        Raises:
            OutOfMemoryError: one request does not fit.
        """


NetworkKey = tuple[type[Network], tuple[Weights, ...]]

_CPU = torch.device("cpu")
_pools: list["NetworkPool"] = []
_pools_lock = threading.Lock()


@dataclass(eq=False)
class _Request:
    """A queued request and its result; compared by identity."""

    content: Any
    result: Any = None
    is_done: bool = False


@dataclass
class _LoadedNetwork:
    network: Network
    on_device: bool = False


@dataclass
class NetworkPool:
    """The networks of one process on one device. Safe to use from several threads."""

    machine: Machine
    # In order of use, the longest unused first.
    _loaded: "OrderedDict[NetworkKey, _LoadedNetwork]" = field(default_factory=OrderedDict)
    _queues: dict[NetworkKey, list[_Request]] = field(default_factory=lambda: defaultdict(list))
    _queues_lock: threading.Lock = field(default_factory=threading.Lock)
    _device_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.machine = replace(self.machine, parts=WeakValueDictionary())

    def infer(
        self, kind: type[Network], weights: Sequence[Weights], requests: Sequence[Any]
    ) -> list[Any]:
        """The network's results, one per request, in order.

        Args:
            kind: class of the network.
            weights: its checkpoints (``id@revision``) or folders, in the order of its ``load``.
            requests: what to compute, as its ``compute`` takes them.

        Raises:
            CheckpointMissingError: a checkpoint is not on this machine; names the command.
            OutOfMemoryError: the network, or a single image, does not fit.
        """
        key: NetworkKey = (kind, tuple(weights))
        own = [_Request(request) for request in requests]
        with self._queues_lock:
            self._queues[key] += own
        try:
            with self._device_lock:
                if not all(request.is_done for request in own):
                    self._compute_queued(key, own)
        finally:
            with self._queues_lock:
                self._queues[key] = [row for row in self._queues[key] if row not in own]
        return [request.result for request in own]

    def clear(self) -> None:
        """Move all networks off the device, for work that uses it without the pool."""
        with self._device_lock:
            self._make_room(except_for=None)

    @contextmanager
    def without_networks(self) -> Iterator[None]:
        """Keep the device free of this pool's networks; other threads wait with their requests."""
        with self._device_lock:
            self._make_room(except_for=None)
            try:
                yield
            finally:
                gc.collect()
                release_memory()

    @property
    def on_device(self) -> int:
        """Bytes of weights that lie on the device, or are being moved there."""
        return _size_of(self._parts_on_device())

    def _compute_queued(self, key: NetworkKey, own: list[_Request]) -> None:
        """Compute everything in the queue; if that fails, only the caller's own requests."""
        with self._queues_lock:
            queued = [request for request in self._queues[key] if not request.is_done]
        try:
            self._compute(key, queued)
        except Exception:
            if len(queued) == len(own):
                raise
        # Not in the handler: its traceback keeps alive what the attempt had on the device.
        remaining = [request for request in own if not request.is_done]
        if remaining:
            self._compute(key, remaining)

    def _compute(self, key: NetworkKey, requests: list[_Request]) -> None:
        contents = [request.content for request in requests]
        with evicting(lambda: self._make_room(except_for=key) > 0):
            results = retry_on_oom(
                lambda: list(self._network(key).compute(contents)), what=_describe(key)
            )
        for request, result in zip(requests, results, strict=True):
            request.result, request.is_done = result, True

    def _network(self, key: NetworkKey) -> Network:
        loaded = self._loaded.get(key) or self._load(key)
        self._loaded.move_to_end(key)
        if not loaded.on_device:
            self._move_to_device(key, loaded)
        return loaded.network

    def _load(self, key: NetworkKey) -> _LoadedNetwork:
        """Load into main memory. Device memory is measured after moving: parts may be shared."""
        restrict_libraries()
        kind, weights = key
        folders = [one if isinstance(one, Path) else locate(one) for one in weights]
        loaded = _LoadedNetwork(kind.load(*folders, machine=replace(self.machine, device=_CPU)))
        self._loaded[key] = loaded
        log.info("%s loaded: %.2f GB", _describe(key), _size_of(loaded.network.modules) / 1e9)
        return loaded

    def _move_to_device(self, key: NetworkKey, loaded: _LoadedNetwork) -> None:
        loaded.on_device = True
        try:
            self._keep_to_budget(key, loaded)
            for part in loaded.network.modules:
                to_device(part, self.machine.device)
        except BaseException:
            loaded.on_device = False
            self._free_unused_parts()
            raise

    def _keep_to_budget(self, key: NetworkKey, loaded: _LoadedNetwork) -> None:
        budget = self.machine.budget
        while budget is not None and self.on_device > budget:
            if not self._make_room(except_for=key, at_most=1):
                needed = _size_of(loaded.network.modules)
                raise OutOfMemoryError(
                    f"{_describe(key)} needs {needed / 1e9:.2f} GB, and "
                    f"{(self.on_device - needed) / 1e9:.2f} of {budget / 1e9:.2f} GB are taken; "
                    "raise SYNTHSET_VRAM_GB, or set SYNTHSET_RESIDENCY to offload or evict"
                )

    def _make_room(self, *, except_for: NetworkKey | None, at_most: int | None = None) -> int:
        """Offload or evict the networks that were used longest ago; returns how many."""
        if self.machine.residency == "all":
            return 0
        present = [key for key, loaded in self._loaded.items() if loaded.on_device]
        chosen = [key for key in present if key != except_for][:at_most]
        for key in chosen:
            self._loaded[key].on_device = False
            if self.machine.residency == "evict":
                del self._loaded[key]
        self._free_unused_parts()
        return len(chosen)

    def _free_unused_parts(self) -> None:
        """Move parts to main memory that no network on the device uses, and free lost memory."""
        used = {id(part) for part in self._parts_on_device()}
        for loaded in self._loaded.values():
            for part in loaded.network.modules:
                if id(part) not in used:
                    part.to(_CPU)
        gc.collect()
        release_memory()

    def _parts_on_device(self) -> list[nn.Module]:
        loaded = [row.network for row in self._loaded.values() if row.on_device]
        return [part for network in loaded for part in network.modules]


def infer(kind: type[Network], weights: Sequence[Weights], requests: Sequence[Any]) -> list[Any]:
    """`NetworkPool.infer` of this process. Without requests no network is loaded."""
    return network_pool().infer(kind, weights, requests) if requests else []


def network_pool() -> NetworkPool:
    """The pool of this process, with the settings that the environment had at the first call."""
    with _pools_lock:
        if not _pools:
            _pools.append(NetworkPool(this_machine()))
        return _pools[0]


def device_alone() -> AbstractContextManager[None]:
    """A context in which its thread alone loads networks and uses the device, as for a training.

    Networks of this process leave the device first; with residency ``all`` they stay.
    """
    return network_pool().without_networks()


def clear_device() -> None:
    """Move this process's networks off the device. With residency ``all`` they stay."""
    for pool in _pools:
        pool.clear()


def _describe(key: NetworkKey) -> str:
    return " + ".join(str(weights) for weights in key[1])


def _size_of(modules: Iterable[nn.Module]) -> int:
    """Bytes of parameters and buffers; a module that occurs twice counts once."""
    return sum(
        tensor.numel() * tensor.element_size()
        for module in {id(module): module for module in modules}.values()
        for tensor in (*module.parameters(), *module.buffers())
    )
