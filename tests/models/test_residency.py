"""Networks are loaded once, stay within the budget, and serve several references at a time."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.batches import OutOfMemory
from models.hardware import Machine, MachineError, Residency, this_machine
from models.residency import Residents, ask, weights_size

CPU = torch.device("cpu")
META = torch.device("meta")


class Doubler:
    """Doubles numbers, and remembers in which company it got them."""

    loads: list[Path] = []

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.modules = (nn.Linear(100, 10, bias=False, device=device),)
        self.folder = folder
        self.calls: list[list[int]] = []

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Doubler":
        cls.loads.append(folders[0])
        return cls(folders[0], machine.device)

    def compute(self, requests: Sequence[int]) -> Iterator[int]:
        self.calls.append(list(requests))
        for request in requests:
            if request < 0:
                raise ValueError(f"{request} is below zero")
            yield 2 * request


class Other(Doubler):
    """Another network of the same size."""


@pytest.fixture(autouse=True)
def checkpoints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every reference is a folder with 1,000 numbers of weights."""
    Doubler.loads.clear()

    def locate(reference: str) -> Path:
        folder = tmp_path / reference.replace("/", "-")
        folder.mkdir(exist_ok=True)
        save_file({"weight": torch.zeros(10, 100)}, folder / "model.safetensors")
        return folder

    monkeypatch.setattr("models.residency.locate", locate)


def machine(budget: int | None = None, residency: Residency = "offload") -> Machine:
    return Machine(device=META, dtype=torch.float32, budget=budget, residency=residency)


def names(residents: Residents, *, on_device: bool = True) -> list[str]:
    return [
        kind.__name__
        for (kind, _), one in residents._loaded.items()
        if one.on_device or not on_device
    ]


def test_results_come_in_order_and_weights_are_loaded_once() -> None:
    residents = Residents(machine())
    assert residents.ask(Doubler, ["a"], [3, 1, 2]) == [6, 2, 4]
    assert residents.ask(Doubler, ["a"], [5]) == [10]
    assert residents.loads == 1
    assert residents.ask(Doubler, ["b"], [5]) == [10]
    assert residents.loads == 2
    assert [path.name for path in Doubler.loads] == ["a", "b"]


def test_no_requests_load_nothing() -> None:
    assert ask(Doubler, ["a"], []) == []
    assert not Doubler.loads


def test_the_longest_unused_network_leaves_the_device_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[str] = []
    monkeypatch.setattr(
        "models.residency._move",
        lambda resident, device: (
            moved.append(f"{resident.network.folder.name} to {device.type}"),
            setattr(resident, "on_device", device.type != "cpu"),
        ),
    )
    residents = Residents(machine(budget=8_000))
    residents.ask(Doubler, ["a"], [1])
    residents.ask(Doubler, ["b"], [1])
    residents.ask(Doubler, ["a"], [1])
    assert residents.on_device == 8_000
    residents.ask(Other, ["c"], [1])
    assert moved == ["b to cpu"]
    residents.ask(Doubler, ["b"], [1])
    assert moved == ["b to cpu", "a to cpu", "b to meta"]
    assert residents.on_device == 8_000
    assert residents.loads == 3


def test_evicted_networks_are_loaded_again() -> None:
    residents = Residents(machine(budget=4_000, residency="evict"))
    for reference in ("a", "b", "a"):
        residents.ask(Doubler, [reference], [1])
    assert residents.loads == 3
    assert residents.on_device == 4_000


@pytest.mark.parametrize(("budget", "residency"), [(4_000, "all"), (3_999, "evict")])
def test_a_network_that_does_not_fit_is_refused_with_figures(
    budget: int, residency: Residency
) -> None:
    residents = Residents(machine(budget=budget, residency=residency))
    if budget >= 4_000:
        residents.ask(Doubler, ["org/a@1"], [1])
    with pytest.raises(OutOfMemory, match="raise SYNTHSET_VRAM_GB"):
        residents.ask(Doubler, ["org/b@2"], [1])
    assert residents.on_device <= budget


def test_references_at_the_same_time_share_a_batch() -> None:
    residents = Residents(machine())
    residents.ask(Doubler, ["a"], [0])
    network = next(iter(residents._loaded.values())).network
    assert isinstance(network, Doubler)
    found: dict[int, list[int]] = {}

    def reference(number: int) -> None:
        found[number] = residents.ask(Doubler, ["a"], [number, number + 10])

    threads = [threading.Thread(target=reference, args=(number,)) for number in (1, 2, 3)]
    with residents._device:
        for thread in threads:
            thread.start()
        while sum(len(queue) for queue in residents._queues.values()) < 6:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert found == {number: [2 * number, 2 * number + 20] for number in (1, 2, 3)}
    assert [len(call) for call in network.calls] == [1, 6]


def test_a_request_that_fails_takes_no_other_with_it() -> None:
    residents = Residents(machine())
    residents.ask(Doubler, ["a"], [0])
    outcome: dict[int, object] = {}

    def reference(number: int) -> None:
        try:
            outcome[number] = residents.ask(Doubler, ["a"], [number])
        except ValueError as error:
            outcome[number] = str(error)

    threads = [threading.Thread(target=reference, args=(number,)) for number in (-1, 2)]
    with residents._device:
        for thread in threads:
            thread.start()
        while sum(len(queue) for queue in residents._queues.values()) < 2:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert outcome == {-1: "-1 is below zero", 2: [4]}
    assert not any(residents._queues.values())


def test_an_image_that_does_not_fit_gets_the_whole_device_and_one_more_try() -> None:
    class Hungry(Doubler):
        def compute(self, requests: Sequence[int]) -> Iterator[int]:
            if residents.on_device > 4_000:
                raise OutOfMemory("one image does not fit into memory")
            yield from super().compute(requests)

    residents = Residents(machine(residency="evict"))
    residents.ask(Other, ["b"], [1])
    assert residents.ask(Hungry, ["a"], [4]) == [8]
    assert names(residents) == ["Hungry"]


def test_weights_are_measured_before_they_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "unet/one.safetensors")
    (tmp_path / "net.pth").write_bytes(b"0" * 100)
    assert weights_size(tmp_path, torch.float16) == (15 + 7) * 2 + 100
    assert weights_size(tmp_path, torch.float32) == (15 + 7) * 4 + 100


def test_the_machine_is_what_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHSET_DEVICE", "cpu")
    assert this_machine() == Machine(device=CPU, dtype=torch.float32)
    monkeypatch.setenv("SYNTHSET_VRAM_GB", "5.5")
    monkeypatch.setenv("SYNTHSET_DTYPE", "bfloat16")
    monkeypatch.setenv("SYNTHSET_BATCH", "4")
    found = this_machine()
    assert (found.budget, found.dtype, found.batch) == (5_500_000_000, torch.bfloat16, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("SYNTHSET_VRAM_GB", "much"), ("SYNTHSET_VRAM_GB", "-3"), ("SYNTHSET_BATCH", "0")],
        *[("SYNTHSET_DTYPE", "int4"), ("SYNTHSET_RESIDENCY", "some"), ("SYNTHSET_COMPILE", "y")],
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("SYNTHSET_DEVICE", "cpu")
    monkeypatch.setenv(name, value)
    with pytest.raises(MachineError, match=f"{name}={value}: give "):
        this_machine()
