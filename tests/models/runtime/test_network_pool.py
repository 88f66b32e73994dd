"""Networks are loaded once, stay within the budget, and serve several references at a time."""

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.data.settings import Residency
from models.runtime.batching import OutOfMemoryError
from models.runtime.hardware import Machine, this_machine
from models.runtime.network_pool import NetworkPool, infer

CPU = torch.device("cpu")
META = torch.device("meta")
MOVED: list[str] = []
ALIVE: "weakref.WeakSet[Weights]" = weakref.WeakSet()


class Weights(nn.Module):
    """1,000 numbers in main memory or on the device, which is meta and keeps none."""

    most = 10**9

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.zeros(1000), requires_grad=False)
        ALIVE.add(self)

    def to(self, device: Any) -> "Weights":  # type: ignore[override]
        device = torch.device(device)
        if device != self.weight.device:
            there = sum(one.weight.device == META for one in ALIVE)
            if device == META and there >= self.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 kB")
            MOVED.append(f"{self.name} to {device.type}")
            self.weight = nn.Parameter(torch.zeros(1000, device=device), requires_grad=False)
        return self


class Doubler:
    """Doubles numbers, and remembers in which company it got them."""

    loads: list[Path] = []

    def __init__(self, folder: Path, *parts: nn.Module) -> None:
        self.modules = parts
        self.folder = folder
        self.calls: list[list[int]] = []

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Doubler":
        assert machine.device == CPU
        cls.loads.append(folders[0])
        return cls(folders[0], Weights(folders[0].name))

    def compute(self, requests: Sequence[int]) -> Iterator[int]:
        self.calls.append(list(requests))
        for request in requests:
            if request < 0:
                raise ValueError(f"{request} is below zero")
            yield 2 * request


class Other(Doubler):
    """Another network of the same size."""


class Sharing(Doubler):
    """Weights of its own for each checkpoint but the first, which it shares."""

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Sharing":
        first, *others = folders
        assert machine.parts is not None
        shared = machine.parts.get(first) or Weights(first.name)
        machine.parts[first] = shared
        return cls(first, shared, *(Weights(one.name) for one in others))


@pytest.fixture(autouse=True)
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reference is a folder of its name."""
    Doubler.loads.clear()
    MOVED.clear()
    ALIVE.clear()
    monkeypatch.setattr(
        "models.runtime.network_pool.locate", lambda name: Path(name.replace("/", "-"))
    )


def machine(budget: int | None = None, residency: Residency = "offload") -> Machine:
    return Machine(device=META, dtype=torch.float32, budget=budget, residency=residency)


def names(pool: NetworkPool, *, on_device: bool = True) -> list[str]:
    return [
        kind.__name__ for (kind, _), one in pool._loaded.items() if one.on_device or not on_device
    ]


def test_results_come_in_order_and_weights_are_loaded_once() -> None:
    pool = NetworkPool(machine())
    assert pool.infer(Doubler, ["a"], [3, 1, 2]) == [6, 2, 4]
    assert pool.infer(Doubler, ["a"], [5]) == [10]
    assert len(Doubler.loads) == 1
    assert pool.infer(Doubler, ["b"], [5]) == [10]
    assert len(Doubler.loads) == 2
    assert [path.name for path in Doubler.loads] == ["a", "b"]


def test_no_requests_load_nothing() -> None:
    assert infer(Doubler, ["a"], []) == []
    assert not Doubler.loads


def test_the_longest_unused_network_leaves_the_device_first() -> None:
    pool = NetworkPool(machine(budget=8_000))
    pool.infer(Doubler, ["a"], [1])
    pool.infer(Doubler, ["b"], [1])
    pool.infer(Doubler, ["a"], [1])
    assert pool.on_device == 8_000
    MOVED.clear()
    pool.infer(Other, ["c"], [1])
    assert MOVED == ["b to cpu", "c to meta"]
    pool.infer(Doubler, ["b"], [1])
    assert MOVED[2:] == ["a to cpu", "b to meta"]
    assert pool.on_device == 8_000
    assert len(Doubler.loads) == 3


def test_a_cleared_device_is_empty_and_fills_again_without_reading_a_file() -> None:
    pool = NetworkPool(machine())
    pool.infer(Doubler, ["a"], [1])
    pool.infer(Doubler, ["b"], [1])
    pool.clear()
    assert pool.on_device == 0
    assert pool.infer(Doubler, ["a"], [4]) == [8]
    assert pool.on_device == 4_000
    assert len(Doubler.loads) == 2


def test_a_part_that_two_networks_have_is_loaded_and_counted_once() -> None:
    pool = NetworkPool(machine())
    pool.infer(Sharing, ["base", "a"], [1])
    pool.infer(Sharing, ["base", "b"], [1])
    assert pool.on_device == 12_000
    assert MOVED == ["base to meta", "a to meta", "b to meta"]


def test_a_shared_part_stays_on_the_device_while_a_network_there_has_it() -> None:
    pool = NetworkPool(machine(budget=8_000))
    pool.infer(Sharing, ["base", "a"], [1])
    pool.infer(Sharing, ["base", "b"], [1])
    assert MOVED == ["base to meta", "a to meta", "a to cpu", "b to meta"]
    pool.infer(Sharing, ["base"], [1])
    assert len(MOVED) == 4
    pool.infer(Other, ["c"], [1])
    assert MOVED[4:] == ["b to cpu", "c to meta"]
    pool.infer(Other, ["d"], [1])
    assert MOVED[6:] == ["base to cpu", "d to meta"]
    assert pool.on_device == 8_000


def test_evicting_a_network_keeps_what_another_has_of_it() -> None:
    pool = NetworkPool(machine(residency="evict", budget=8_000))
    for others in (["a"], ["b"], ["a"], []):
        pool.infer(Sharing, ["base", *others], [1])
    assert MOVED.count("base to meta") == 1
    assert "base to cpu" not in MOVED
    pool.infer(Other, ["c"], [1])
    pool.infer(Other, ["d"], [1])
    gc.collect()
    assert not pool.machine.parts


def test_evicted_networks_are_loaded_again() -> None:
    pool = NetworkPool(machine(budget=4_000, residency="evict"))
    for reference in ("a", "b", "a"):
        pool.infer(Doubler, [reference], [1])
    assert len(Doubler.loads) == 3
    assert pool.on_device == 4_000


@pytest.mark.parametrize(("budget", "residency"), [(4_000, "all"), (3_999, "evict")])
def test_a_network_that_does_not_fit_is_refused_with_figures(
    budget: int, residency: Residency
) -> None:
    pool = NetworkPool(machine(budget=budget, residency=residency))
    if budget >= 4_000:
        pool.infer(Doubler, ["org/a@1"], [1])
    with pytest.raises(OutOfMemoryError, match="raise SYNTHSET_VRAM_GB"):
        pool.infer(Doubler, ["org/b@2"], [1])
    assert pool.on_device <= budget


def test_references_at_the_same_time_share_a_batch() -> None:
    pool = NetworkPool(machine())
    pool.infer(Doubler, ["a"], [0])
    network = next(iter(pool._loaded.values())).network
    assert isinstance(network, Doubler)
    found: dict[int, list[int]] = {}

    def reference(number: int) -> None:
        found[number] = pool.infer(Doubler, ["a"], [number, number + 10])

    threads = [threading.Thread(target=reference, args=(number,)) for number in (1, 2, 3)]
    with pool._device_lock:
        for thread in threads:
            thread.start()
        while sum(len(queue) for queue in pool._queues.values()) < 6:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert found == {number: [2 * number, 2 * number + 20] for number in (1, 2, 3)}
    assert [len(call) for call in network.calls] == [1, 6]


def test_a_training_has_the_device_alone_and_requests_wait_for_its_end() -> None:
    pool = NetworkPool(machine())
    pool.infer(Doubler, ["a"], [0])
    order: list[str] = []

    def reference() -> None:
        pool.infer(Doubler, ["a"], [1])
        order.append("request")

    thread = threading.Thread(target=reference)
    with pool.without_networks():
        assert pool.on_device == 0
        thread.start()
        while not any(pool._queues.values()):
            threading.Event().wait(0.01)
        order.append("training")
    thread.join(10)
    assert order == ["training", "request"]
    assert pool.on_device == 4_000


def test_a_request_that_fails_takes_no_other_with_it() -> None:
    pool = NetworkPool(machine())
    pool.infer(Doubler, ["a"], [0])
    outcome: dict[int, object] = {}

    def reference(number: int) -> None:
        try:
            outcome[number] = pool.infer(Doubler, ["a"], [number])
        except ValueError as error:
            outcome[number] = str(error)

    threads = [threading.Thread(target=reference, args=(number,)) for number in (-1, 2)]
    with pool._device_lock:
        for thread in threads:
            thread.start()
        while sum(len(queue) for queue in pool._queues.values()) < 2:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert outcome == {-1: "-1 is below zero", 2: [4]}
    assert not any(pool._queues.values())


def test_an_image_that_does_not_fit_gets_the_whole_device_and_one_more_try() -> None:
    class Hungry(Doubler):
        def compute(self, requests: Sequence[int]) -> Iterator[int]:
            if pool.on_device > 4_000:
                raise OutOfMemoryError("one image does not fit into memory")
            yield from super().compute(requests)

    pool = NetworkPool(machine(residency="evict"))
    pool.infer(Other, ["b"], [1])
    assert pool.infer(Hungry, ["a"], [4]) == [8]
    assert names(pool) == ["Hungry"]


def test_weights_that_do_not_fit_get_the_whole_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "most", 4)
    pool = NetworkPool(machine())
    for reference in "xy":
        pool.infer(Other, [reference], [1])
    MOVED.clear()
    assert pool.infer(Sharing, ["a", "b", "c"], [3]) == [6]
    assert MOVED[:4] == ["a to meta", "b to meta", "a to cpu", "b to cpu"], "undone"
    assert MOVED[4:6] == ["x to cpu", "y to cpu"]
    assert MOVED[6:] == ["a to meta", "b to meta", "c to meta"]
    assert pool.on_device == 12_000


def test_evicted_weights_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "most", 1)
    pool = NetworkPool(machine(residency="evict"))
    for reference in "xyx":
        assert pool.infer(Other, [reference], [1]) == [2]
    assert len(Doubler.loads) == 3


def test_weights_that_do_not_fit_alone_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "most", 1)
    pool = NetworkPool(machine())
    pool.infer(Other, ["x"], [1])
    for _ in range(2):
        with pytest.raises(
            OutOfMemoryError, match=r"^a \+ b does not fit into memory \(CUDA out of"
        ):
            pool.infer(Sharing, ["a", "b"], [3])
        assert pool.on_device == 0
        assert {one.weight.device for one in ALIVE} == {CPU}
    assert pool.infer(Other, ["x"], [1]) == [2]


class Batch:
    """What a network has on the device while it computes."""


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, OutOfMemoryError])
def test_what_did_not_fit_is_gone_before_the_second_try(error: type[Exception]) -> None:
    seen: list[weakref.ref[Batch]] = []

    class Hungry(Doubler):
        def compute(self, requests: Sequence[int]) -> Iterator[int]:
            assert all(one() is None for one in seen), "still there"
            batch = Batch()
            seen.append(weakref.ref(batch))
            if pool.on_device > 4_000:
                raise error("no room")
            yield from super().compute(requests)

    pool = NetworkPool(machine())
    pool.infer(Other, ["b"], [1])
    gc.disable()
    try:
        assert pool.infer(Hungry, ["a"], [4]) == [8]
    finally:
        gc.enable()
    assert len(seen) == 2


def test_the_machine_is_what_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHSET_DEVICE", "cpu")
    assert this_machine() == Machine(device=CPU, dtype=torch.float32)
    monkeypatch.setenv("SYNTHSET_VRAM_GB", "5.5")
    monkeypatch.setenv("SYNTHSET_DTYPE", "bfloat16")
    monkeypatch.setenv("SYNTHSET_BATCH", "4")
    found = this_machine()
    assert (found.budget, found.dtype, found.batch) == (5_500_000_000, torch.bfloat16, 4)


def test_weights_may_be_a_folder(tmp_path: Path) -> None:
    pool = NetworkPool(machine())
    assert pool.infer(Doubler, [tmp_path / "made", "a"], [1]) == [2]
    assert pool.infer(Doubler, [tmp_path / "made", "a"], [2]) == [4]
    assert Doubler.loads == [tmp_path / "made"]
