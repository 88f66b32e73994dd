"""Which networks are loaded: once per process, within the device's budget, one at work at a time.

`ask` is the only way by which stages reach a network. References that are expanded side by side
ask for the same networks; whoever gets the device next takes along what the others have queued, so
that batches fill up across references.

Networks may borrow the same part, as both uses of SDXL do
(`models.runtime.pretrained.load_shared`). A part
lies on the device as long as one of the networks there has it, and is gone with the last that does.
"""

import gc
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import nn

from models.checkpoints.local import locate
from models.runtime.batching import OutOfMemory, evicting, place, release_memory, retry_on_oom
from models.runtime.hardware import Machine, this_machine

log = logging.getLogger("synthset.models")


class Network(Protocol):
    """A network with all that belongs to it, from requests to results."""

    modules: tuple[nn.Module, ...]

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Network":
        """The network, on the machine's device, from one folder per checkpoint."""

    def compute(self, requests: Sequence[Any]) -> Iterator[Any]:
        """A result, or `models.runtime.batching.InvalidOutput`, per request, in their order."""


_CPU = torch.device("cpu")
_residents: list["NetworkPool"] = []
_first = threading.Lock()

Name = tuple[type[Network], tuple[str, ...]]


@dataclass
class _Asked:
    """A request that waits for its result."""

    request: Any
    result: Any = None
    done: bool = False

    def answer(self, result: Any) -> None:
        self.result, self.done = result, True


@dataclass
class _Resident:
    network: Network
    on_device: bool = False


@dataclass
class NetworkPool:
    """The networks of one process on one device. Safe to use from several threads."""

    machine: Machine
    loads: int = 0
    _loaded: "OrderedDict[Name, _Resident]" = field(default_factory=OrderedDict)
    _queues: dict[Name, list[_Asked]] = field(default_factory=lambda: defaultdict(list))
    _queueing: threading.Lock = field(default_factory=threading.Lock)
    _device: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.machine = replace(self.machine, parts=WeakValueDictionary())

    def infer(
        self, kind: type[Network], references: Sequence[str], requests: Sequence[Any]
    ) -> list[Any]:
        """The network's results, one per request, in order.

        Args:
            kind: class of the network.
            references: its checkpoints, ``id@revision``, in the order that its ``load`` wants.
            requests: what to compute, as its ``compute`` takes them.

        Raises:
            CheckpointMissingError: a checkpoint is not on this machine; says what to run.
            OutOfMemory: the network, or a single image, does not fit.
        """
        name: Name = (kind, tuple(references))
        mine = [_Asked(request) for request in requests]
        with self._queueing:
            self._queues[name] += mine
        try:
            with self._device:
                if not all(one.done for one in mine):
                    self._serve(name, mine)
        finally:
            self._forget(name, mine)
        return [one.result for one in mine]

    def clear(self) -> None:
        """Put all networks aside, for work that takes the device in its own way."""
        with self._device:
            self._put_aside(besides=None)

    @property
    def on_device(self) -> int:
        """Bytes of weights that lie on the device now."""
        return _size_of(part for one in self._there() for part in one.network.modules)

    def _serve(self, name: Name, mine: list[_Asked]) -> None:
        """Compute everything that is queued; if that fails, only what this caller asked for."""
        with self._queueing:
            together = [one for one in self._queues[name] if not one.done]
        try:
            self._compute(name, together)
        except Exception:
            if len(together) == len(mine):
                raise
        # Not within the handler: its traceback holds whatever the attempt had on the device.
        left = [one for one in mine if not one.done]
        if left:
            self._compute(name, left)

    def _compute(self, name: Name, asked: list[_Asked]) -> None:
        requests = [one.request for one in asked]
        with evicting(lambda: self._put_aside(besides=name) > 0):
            results = retry_on_oom(
                lambda: list(self._network(name).compute(requests)), what=" + ".join(name[1])
            )
        for one, result in zip(asked, results, strict=True):
            one.answer(result)

    def _forget(self, name: Name, mine: list[_Asked]) -> None:
        own = {id(one) for one in mine}
        with self._queueing:
            self._queues[name] = [one for one in self._queues[name] if id(one) not in own]

    def _network(self, name: Name) -> Network:
        resident = self._loaded.get(name) or self._load(name)
        self._loaded.move_to_end(name)
        if not resident.on_device:
            self._bring(name, resident)
        return resident.network

    def _load(self, name: Name) -> _Resident:
        """Into main memory. What a network takes on the device is known when it is there: which
        files it reads, and which parts another network has brought already, is its own affair."""
        folders = [locate(reference) for reference in name[1]]
        resident = _Resident(name[0].load(*folders, machine=replace(self.machine, device=_CPU)))
        self._loaded[name] = resident
        self.loads += 1
        size = _size_of(resident.network.modules)
        log.info("%s loaded: %.2f GB", " + ".join(name[1]), size / 1e9)
        return resident

    def _bring(self, name: Name, resident: _Resident) -> None:
        resident.on_device = True
        try:
            self._make_room(name, resident)
            for part in resident.network.modules:
                place(part, self.machine.device)
        except BaseException:
            resident.on_device = False
            self._tidy()
            raise

    def _make_room(self, name: Name, resident: _Resident) -> None:
        budget = self.machine.budget
        while budget is not None and self.on_device > budget:
            if not self._put_aside(besides=name, at_most=1):
                needed = _size_of(resident.network.modules)
                raise OutOfMemory(
                    f"{' + '.join(name[1])} needs {needed / 1e9:.2f} GB, and "
                    f"{(self.on_device - needed) / 1e9:.2f} of {budget / 1e9:.2f} GB are taken; "
                    "raise SYNTHSET_VRAM_GB, or set SYNTHSET_RESIDENCY to offload or evict"
                )

    def _put_aside(self, *, besides: Name | None, at_most: int | None = None) -> int:
        """Offload or evict the networks that were used longest ago; how many it were."""
        if self.machine.residency == "all":
            return 0
        others = [one for one, resident in self._loaded.items() if resident.on_device]
        chosen = [one for one in others if one != besides][:at_most]
        for one in chosen:
            self._loaded[one].on_device = False
            if self.machine.residency == "evict":
                del self._loaded[one]
        self._tidy()
        return len(chosen)

    def _tidy(self) -> None:
        """Move to main memory what no network on the device has, and free what none has at all."""
        needed = {id(part) for one in self._there() for part in one.network.modules}
        for resident in self._loaded.values():
            for part in resident.network.modules:
                if id(part) not in needed:
                    part.to(_CPU)
        gc.collect()
        release_memory()

    def _there(self) -> list[_Resident]:
        """The networks that the device has, or makes room for."""
        return [one for one in self._loaded.values() if one.on_device]


def infer(kind: type[Network], references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
    """`NetworkPool.ask` of this process. No requests load no network."""
    return residents().infer(kind, references, requests) if requests else []


def residents() -> NetworkPool:
    """The networks of this process, on the machine as its environment described it at first."""
    with _first:
        if not _residents:
            _residents.append(NetworkPool(this_machine()))
        return _residents[0]


def clear_device() -> None:
    """Put the networks of this process aside, if it has any. Residency ``all`` keeps them."""
    for one in _residents:
        one.clear()


def _size_of(modules: Iterable[nn.Module]) -> int:
    """Bytes of weights; a network that comes up twice counts once."""
    return sum(
        tensor.numel() * tensor.element_size()
        for module in {id(module): module for module in modules}.values()
        for tensor in (*module.parameters(), *module.buffers())
    )
