"""What all networks share: halving, the second try in float32, noise and bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.runtime import batching as batches
from models.runtime.batching import InvalidOutput, OutOfMemoryError, evicting, run_batched


def run_with(network: nn.Module, sizes: list[int]) -> Callable[[Sequence[float]], list[Tensor]]:
    def run(items: Sequence[float]) -> list[Tensor]:
        sizes.append(len(items))
        given = torch.tensor(items, dtype=batches.dtype_of(network))[:, None]
        return list(network(given))

    return run


@pytest.fixture
def double() -> nn.Module:
    network = nn.Linear(1, 1, bias=False).requires_grad_(False)
    network.weight.fill_(2.0)
    return network


def test_items_come_back_in_order_in_batches(double: nn.Module) -> None:
    sizes: list[int] = []
    made = list(
        run_batched(run_with(double, sizes), [1.0, 2, 3, 4, 5], at_most=2, modules=[double])
    )
    assert [float(one) for one in made] == [2, 4, 6, 8, 10]  # type: ignore[arg-type]
    assert sizes == [2, 2, 1]


def test_no_items_run_nothing(double: nn.Module) -> None:
    sizes: list[int] = []
    assert list(run_batched(run_with(double, sizes), [], at_most=2, modules=[double])) == []
    assert sizes == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_the_batch_is_halved_and_stays_so(error: Exception) -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> list[Tensor]:
        sizes.append(len(items))
        if len(items) > 2:
            raise error
        return [torch.tensor(float(one)) for one in items]

    made = list(run_batched(run, range(9), at_most=8, modules=[]))
    assert [float(one) for one in made] == list(range(9))  # type: ignore[arg-type]
    assert sizes == [8, 4, 2, 2, 2, 2, 1]


def test_a_single_item_that_does_not_fit_says_what_to_do() -> None:
    def run(_: Sequence[int]) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    with pytest.raises(OutOfMemoryError, match="SYNTHSET_RESIDENCY=evict") as caught:
        list(run_batched(run, [1, 2], at_most=2, modules=[]))
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_memory() -> None:
    def run(_: Sequence[int]) -> list[Tensor]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        list(run_batched(run, [1, 2], at_most=2, modules=[]))


def test_an_overflow_is_mended_in_float32_and_the_dtype_comes_back(double: nn.Module) -> None:
    double.half()
    sizes: list[int] = []
    made = list(run_batched(run_with(double, sizes), [1.0, 40000.0], at_most=2, modules=[double]))
    assert [float(one) for one in made] == [2.0, 80000.0]  # type: ignore[arg-type]
    assert sizes == [2, 1]
    assert batches.dtype_of(double) == torch.float16


def test_what_float32_does_not_mend_is_unusable_and_alone(double: nn.Module) -> None:
    sizes: list[int] = []
    run = run_with(double, sizes)
    made = list(run_batched(run, [1.0, float("nan"), 3.0], at_most=3, modules=[double]))
    assert made[1] == InvalidOutput("the network gave no finite numbers")
    assert [float(made[0]), float(made[2])] == [2.0, 6.0]  # type: ignore[arg-type]
    assert sizes == [3, 1]


def test_the_dtype_comes_back_even_if_the_second_try_fails(double: nn.Module) -> None:
    double.half()

    def run(items: Sequence[float]) -> list[Tensor]:
        if batches.dtype_of(double) == torch.float32:
            raise RuntimeError("broken")
        return [torch.tensor(float("inf")) for _ in items]

    with pytest.raises(RuntimeError, match="broken"):
        list(run_batched(run, [1.0], at_most=1, modules=[double]))
    assert batches.dtype_of(double) == torch.float16


class Cramped(nn.Linear):
    """Half-precision weights that find no room for another dtype as often as ``short`` says."""

    short = 0

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> "Cramped":
        if self.short and change(self.weight).dtype is torch.float32:
            self.short -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super()._apply(change, recurse)


@pytest.fixture
def cramped() -> Cramped:
    network = Cramped(1, 1, bias=False).requires_grad_(False).half()
    network.weight.fill_(2.0)
    return network


@pytest.mark.parametrize("where", ["cast", "run"])
def test_where_float32_does_not_fit_the_image_is_unusable(cramped: Cramped, where: str) -> None:
    cramped.short = 1 if where == "cast" else 0
    run = run_with(cramped, [])

    def hungry(items: Sequence[float]) -> list[Tensor]:
        if batches.dtype_of(cramped) == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(items)

    made = list(run_batched(hungry, [1.0, 40000.0, 3.0], at_most=3, modules=[cramped]))
    no = "the network gave no finite numbers, and float32 does not fit into memory"
    assert made[1] == InvalidOutput(no)
    assert [float(made[0]), float(made[2])] == [2.0, 6.0]  # type: ignore[arg-type]
    assert batches.dtype_of(cramped) == torch.float16
    assert not cramped.short


def test_room_is_made_for_float32_where_there_is_some_to_make(cramped: Cramped) -> None:
    cramped.short = 2
    others = ["one", "another"]
    with evicting(lambda: bool(others and others.pop())):
        (made,) = run_batched(run_with(cramped, []), [40000.0], at_most=1, modules=[cramped])
    assert float(made) == 80000.0  # type: ignore[arg-type]
    assert batches.dtype_of(cramped) == torch.float16
    assert not cramped.short
    assert not others


def test_room_is_made_for_a_single_image(double: nn.Module) -> None:
    run, others = run_with(double, []), ["one"]

    def cramped(items: Sequence[float]) -> list[Tensor]:
        if others:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(items)

    with evicting(lambda: bool(others and others.pop())):
        made = list(run_batched(cramped, [1.0, 2.0], at_most=2, modules=[double]))
    assert [float(one) for one in made] == [2.0, 4.0]  # type: ignore[arg-type]
    others.append("but beyond the block there is no way to make it")
    with pytest.raises(OutOfMemoryError):
        list(run_batched(cramped, [1.0], at_most=1, modules=[double]))


def test_the_dtype_comes_back_by_way_of_main_memory(double: nn.Module) -> None:
    """Where memory has run out, there may be no room for the old and the new weights at once."""
    ways: list[Any] = []

    class Full(nn.Linear):
        """Says where it is moved and what it is cast to; the first cast back finds no room."""

        def to(self, *place: Any) -> "Full":
            ways.append(place)
            return super().to(*place)

        def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> "Full":
            before, after = self.weight.dtype, change(self.weight).dtype
            if after is not before:
                ways.append(after)
                if ways.count(torch.float16) == 1 and after is torch.float16:
                    raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._apply(change, recurse)

    network = Full(1, 1, dtype=torch.float16)
    with batches.in_float32([network]):
        assert batches.dtype_of(network) == torch.float32
    assert batches.dtype_of(network) == torch.float16
    cast_back = [torch.float16, ("cpu",), torch.float16, (torch.device("cpu"),)]
    assert ways == [torch.float32, *cast_back]


def test_noise_is_each_images_own() -> None:
    like = torch.zeros(1, dtype=torch.float16)
    both = batches.noise_like((3, 4), [batches.generator(1), batches.generator(2)], like)
    alone = batches.noise_like((3, 4), [batches.generator(2)], like)
    assert both.dtype == torch.float16
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])


def test_bytes_make_the_round_trip() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = batches.as_tensor([image], nn.Linear(1, 1))
    assert tensor.shape == (1, 3, 16, 16)
    assert (float(tensor.min()), float(tensor.max())) == (0.0, 1.0)
    assert np.array_equal(batches.as_uint8(tensor[0]), image)
    assert batches.as_uint8(tensor[0][:1]).shape == (16, 16)
    beyond = batches.as_uint8(torch.tensor([[[-0.5, 1.5, 0.5]]]))
    assert beyond.tolist() == [[0, 255, 128]]
