"""What only a GPU can show. Without one these tests skip by name; CI has none.

On a machine with one: ``python -m pytest -rP tests/models/runtime/test_on_gpu.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.runtime import batching as batches
from models.runtime.compile import CACHE_VARIABLE, is_compiled
from models.runtime.hardware import Machine, describe_gpu, this_machine
from models.runtime.network_pool import NetworkPool
from tests.checkpoints.wrappers import CASES, Case, apart, photo
from tests.models.training.classification.test_train import (
    assert_same_training,
    draw_photos,
    parameters,
)

pytest.importorskip("compel")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: torch sees none on this machine"
)
COUNT = 5
# Grey levels of 8 bits, for mattes and depth too. SAM's random weights make edges of next to
# nothing: 9.5 levels on an H200.
HALF, SINGLE = 4, 4
SOFT = {"sam": 12}
# Probably torchvision resizes bytes to other last digits on a GPU, and random weights make much of
# it: Depth Anything was 13.6 levels off on an H200, and BLIP said something else.
OTHER_BYTES = {"depth anything": 16}


def gpu(dtype: torch.dtype, **more: Any) -> Machine:
    return Machine(torch.device("cuda:0"), dtype, **{"batch": COUNT, **more})


@pytest.mark.parametrize("name", CASES)
def test_alone_is_as_in_a_batch(name: str, tmp_path: Path) -> None:
    """In the precision of production, and with a batch of another size each time."""
    case = CASES[name]
    network = case.load(tmp_path, gpu(torch.float16))
    requests = [case.request(at) for at in range(COUNT)]
    together = list(network.compute(requests))
    alone = [next(network.compute([one])) for one in requests]
    again = list(network.compute(requests))
    assert max(map(apart, together, again)) == 0
    levels = max(map(apart, alone, together))
    print(f"{name}: {levels:.1f} grey levels")
    assert levels <= SOFT.get(name, HALF)


@pytest.mark.parametrize("name", [name for name in CASES if name != "blip"])
def test_a_gpu_gives_the_image_of_a_cpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed gives the same noise wherever it is; what is left is the order of sums, once the card
    is told not to round the factors of convolutions to ten bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    case = CASES[name]
    requests = [case.request(at) for at in range(2)]
    on_cpu, on_gpu = (
        list(case.load(tmp_path, machine).compute(requests))
        for machine in (Machine(torch.device("cpu"), torch.float32), gpu(torch.float32))
    )
    levels = max(map(apart, on_cpu, on_gpu))
    print(f"{name}: {levels:.1f} grey levels")
    assert levels <= OTHER_BYTES.get(name, SINGLE)


@pytest.mark.parametrize("name", ["zero123plus", "sdxl controlnet", "sd2 inpaint"])
def test_compiled_is_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "compiled"))
    case = CASES[name]
    requests = [case.request(at) for at in range(2)]
    plain = list(case.load(tmp_path, gpu(torch.float16, batch=2)).compute(requests))
    compiled = case.load(tmp_path, gpu(torch.float16, batch=2, compile=True))
    assert is_compiled(compiled.modules)
    levels = max(map(apart, plain, compiled.compute(requests)))
    print(f"{name}: {levels:.1f} grey levels")
    assert levels <= HALF


def test_memory_that_runs_out_halves_the_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The card itself says so here, and not a test in its place."""
    case = CASES["realesrgan"]
    network = case.load(tmp_path, gpu(torch.float16, batch=8))
    requests = [_large(case, at) for at in range(8)]
    enough = list(network.compute(requests))
    taken = _peak(lambda: list(network.compute(requests)))
    with _at_most(taken // 2):
        less = list(network.compute(requests))
    assert "memory ran out" in caplog.text
    assert max(map(apart, enough, less)) <= HALF


def test_what_does_not_fit_at_all_says_what_to_do(tmp_path: Path) -> None:
    case = CASES["realesrgan"]
    network = case.load(tmp_path, gpu(torch.float16))
    before = torch.cuda.memory_reserved()
    with (
        _at_most(before + 2**20),
        pytest.raises(batches.OutOfMemoryError, match="SYNTHSET_RESIDENCY"),
    ):
        list(network.compute([_large(case, 0)]))
    assert len(list(network.compute([case.request(0)]))) == 1


def test_networks_take_turns_on_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget for one of two: the other waits in main memory, and gives what it gave before."""
    from models.runtime import network_pool as residency

    names = ["isnet", "dpt"]
    for name in names:
        CASES[name].load(tmp_path / name, Machine(torch.device("cpu"), torch.float32))
    monkeypatch.setattr(residency, "locate", lambda reference: tmp_path / reference / "0")
    requests = {name: [CASES[name].request(at) for at in range(2)] for name in names}

    def run(machine: Machine) -> tuple[list[Any], int]:
        pool, found, most = NetworkPool(machine), [], 0
        for name in (*names, *names):
            found += pool.infer(CASES[name].kind, [name], requests[name])
            most = max(most, pool.on_device)
        return found, most

    plenty, both = run(gpu(torch.float16))
    tight, one = run(gpu(torch.float16, budget=both - 1))
    assert one < both
    assert max(map(apart, plenty, tight)) == 0


def test_training_repeats_on_the_card(tmp_path: Path) -> None:
    from models.training.classification.train import predict, train_once
    from models.training.task import TrainingSets

    photos = draw_photos(tmp_path / "photos")
    classes = ("red", "green", "blue")
    first, second = (
        train_once(
            TrainingSets(photos[:28], photos[28:], classes), parameters(), 7, tmp_path / str(at)
        )
        for at in range(2)
    )
    assert_same_training(first, second)
    assert first.history[first.best_epoch].val_f1_macro >= 0.9
    paths = [path for path, _ in photos[28:]]
    right = predict(first.checkpoint, paths, parameters(), classes).argmax(axis=1) == [
        label for _, label in photos[28:]
    ]
    assert right.mean() == pytest.approx(first.history[first.best_epoch].val_accuracy, abs=0.08)


def test_the_card_is_found() -> None:
    machine = this_machine()
    assert machine.device == torch.device("cuda:0")
    assert machine.dtype is torch.float16
    assert machine.batch > 1
    assert machine.budget
    assert "GiB" in str(describe_gpu())


def _large(case: Case, seed: int) -> Any:
    return replace(case.request(seed), image=photo(seed, 384))


def _peak(work: Callable[[], Any]) -> int:
    """Bytes that the card holds for this process at most, weights and all."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_reserved()


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    """Within it, this process may hold no more than so many bytes of the card."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
