"""Which networks are loaded: once per process, within the device's budget, one at work at a time.

`ask` is the only way by which stages reach a network. References that are expanded side by side
ask for the same networks; whoever gets the device next takes along what the others have queued, so
that batches fill up across references.
"""

import json
import logging
import struct
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from models.batches import OutOfMemory, release_memory
from models.checkpoints import locate
from models.hardware import Machine, this_machine

log = logging.getLogger("synthset.models")


class Network(Protocol):
    """A network with all that belongs to it, from requests to results."""

    modules: tuple[nn.Module, ...]

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Network":
        """The network, on the machine's device, from one folder per checkpoint."""

    def compute(self, requests: Sequence[Any]) -> Iterator[Any]:
        """A result, or `models.batches.Unusable`, per request, in their order."""


_residents: list["Residents"] = []
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
    size: int
    on_device: bool = True


@dataclass
class Residents:
    """The networks of one process on one device. Safe to use from several threads."""

    machine: Machine
    loads: int = 0
    _loaded: "OrderedDict[Name, _Resident]" = field(default_factory=OrderedDict)
    _queues: dict[Name, list[_Asked]] = field(default_factory=lambda: defaultdict(list))
    _queueing: threading.Lock = field(default_factory=threading.Lock)
    _device: threading.Lock = field(default_factory=threading.Lock)

    def ask(
        self, kind: type[Network], references: Sequence[str], requests: Sequence[Any]
    ) -> list[Any]:
        """The network's results, one per request, in order.

        Args:
            kind: class of the network.
            references: its checkpoints, ``id@revision``, in the order that its ``load`` wants.
            requests: what to compute, as its ``compute`` takes them.

        Raises:
            CheckpointMissing: a checkpoint is not on this machine; says what to run.
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

    @property
    def on_device(self) -> int:
        """Bytes of weights that lie on the device now."""
        return sum(one.size for one in self._loaded.values() if one.on_device)

    def _serve(self, name: Name, mine: list[_Asked]) -> None:
        """Compute everything that is queued; if that fails, only what this caller asked for."""
        with self._queueing:
            together = [one for one in self._queues[name] if not one.done]
        try:
            self._compute(name, together)
        except Exception:
            if len(together) == len(mine):
                raise
            self._compute(name, [one for one in mine if not one.done])

    def _compute(self, name: Name, asked: list[_Asked]) -> None:
        try:
            results = list(self._network(name).compute([one.request for one in asked]))
        except OutOfMemory:
            if not self._put_aside(besides=name):
                raise
            results = list(self._network(name).compute([one.request for one in asked]))
        for one, result in zip(asked, results, strict=True):
            one.answer(result)

    def _forget(self, name: Name, mine: list[_Asked]) -> None:
        own = {id(one) for one in mine}
        with self._queueing:
            self._queues[name] = [one for one in self._queues[name] if id(one) not in own]

    def _network(self, name: Name) -> Network:
        resident = self._loaded.get(name)
        if resident is None:
            folders = [locate(reference) for reference in name[1]]
            self._make_room(sum(weights_size(one, self.machine.dtype) for one in folders), name)
            network = name[0].load(*folders, machine=self.machine)
            self.loads += 1
            resident = _Resident(network, _size_of(network))
            self._loaded[name] = resident
            log.info("%s loaded: %.2f GB", " + ".join(name[1]), resident.size / 1e9)
        elif not resident.on_device:
            self._make_room(resident.size, name)
            _move(resident, self.machine.device)
        self._loaded.move_to_end(name)
        return resident.network

    def _make_room(self, needed: int, name: Name) -> None:
        budget = self.machine.budget
        while budget is not None and self.on_device + needed > budget:
            if self.machine.residency == "all" or not self._put_aside(besides=name, at_most=1):
                raise OutOfMemory(
                    f"{' + '.join(name[1])} needs {needed / 1e9:.2f} GB, and "
                    f"{self.on_device / 1e9:.2f} of {budget / 1e9:.2f} GB are taken; raise "
                    "SYNTHSET_VRAM_GB, or set SYNTHSET_RESIDENCY to offload or evict"
                )

    def _put_aside(self, *, besides: Name, at_most: int | None = None) -> int:
        """Offload or evict the networks that were used longest ago; how many it were."""
        if self.machine.residency == "all":
            return 0
        others = [one for one, resident in self._loaded.items() if resident.on_device]
        chosen = [one for one in others if one != besides][:at_most]
        for one in chosen:
            if self.machine.residency == "evict":
                del self._loaded[one]
            else:
                _move(self._loaded[one], torch.device("cpu"))
        release_memory()
        return len(chosen)


def ask(kind: type[Network], references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
    """`Residents.ask` of this process. No requests load no network."""
    return residents().ask(kind, references, requests) if requests else []


def residents() -> Residents:
    """The networks of this process, on the machine as its environment described it at first."""
    with _first:
        if not _residents:
            _residents.append(Residents(this_machine()))
        return _residents[0]


def weights_size(folder: Path, dtype: torch.dtype) -> int:
    """Bytes that a checkpoint's weights will take in ``dtype``: counted from the headers of its
    safetensors files; other weight files count with their size.
    """
    each = torch.finfo(dtype).bits // 8
    size = 0
    for path in folder.rglob("*"):
        if path.suffix == ".safetensors":
            size += sum(_numbers(one) * each for one in _header(path).values())
        elif path.suffix in (".pth", ".bin", ".ckpt"):
            size += path.stat().st_size
    return size


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header


def _numbers(entry: dict[str, Any]) -> int:
    count = 1
    for extent in entry["shape"]:
        count *= extent
    return count


def _size_of(network: Network) -> int:
    tensors = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for module in network.modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensors.values())


def _move(resident: _Resident, device: torch.device) -> None:
    for module in resident.network.modules:
        module.to(device)
    resident.on_device = device.type != "cpu"
