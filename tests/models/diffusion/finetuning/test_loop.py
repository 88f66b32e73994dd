"""The loop: accumulation, bounds of gradients, its state file, and numbers that repeat."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.diffusion.finetuning.loop import (
    STATE,
    Schedule,
    photo_of,
    random_of,
    repeatable,
    train_weights,
)


def a_weight() -> nn.Parameter:
    return nn.Parameter(torch.tensor([2.0, -1.0]))


def ignore(_losses: Sequence[float]) -> None:
    """Called after each step."""


def _steep(weight: nn.Parameter, _draw: int) -> Tensor:
    return 30 * weight.sum()


def test_an_update_follows_the_mean_of_the_accumulated_losses(tmp_path: Path) -> None:
    weight, draws = a_weight(), list[int]()

    def loss_of(draw: int) -> Tensor:
        draws.append(draw)
        return (weight * draw).sum()

    schedule = Schedule(steps=2, learning_rate=0.1, accumulation=3)
    losses = train_weights([weight], loss_of, schedule, tmp_path, ignore)
    assert draws == [0, 1, 2, 3, 4, 5]
    # The sum of both weights is 1; the first mean draw is 1.
    assert losses[0] == pytest.approx(1.0)
    expected = a_weight()
    optimizer = torch.optim.AdamW([expected], lr=0.1)
    for factor in (1.0, 4.0):
        optimizer.zero_grad()
        (expected * factor).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(weight, expected)


def test_gradients_are_bounded_only_where_the_schedule_says_so(tmp_path: Path) -> None:
    norms = []
    for number, bound in enumerate((None, 0.5)):
        weight = a_weight()
        schedule = Schedule(steps=1, learning_rate=0.1, max_norm=bound)
        train_weights([weight], partial(_steep, weight), schedule, tmp_path / str(number), ignore)
        assert weight.grad is not None
        norms.append(float(weight.grad.norm()))
    assert norms == pytest.approx([30 * 2**0.5, 0.5])


def test_a_state_that_was_cut_while_written_is_not_read(tmp_path: Path) -> None:
    weight = a_weight()
    (tmp_path / STATE).with_suffix(".part").write_bytes(b"half of a state")
    schedule = Schedule(steps=3, learning_rate=0.1, save_every=2)
    losses = train_weights([weight], lambda _: weight.square().sum(), schedule, tmp_path, ignore)
    assert len(losses) == 3
    again, seen = a_weight(), list[int]()
    resumed = train_weights(
        [again], lambda _: again.square().sum(), schedule, tmp_path, lambda so_far: seen.append(1)
    )
    assert (resumed, seen) == (losses, [])
    assert torch.equal(again, weight)


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_state_that_can_not_be_read_is_not_used(tmp_path: Path, content: bytes | None) -> None:
    schedule = Schedule(steps=2, learning_rate=0.1)
    weight = a_weight()
    losses = train_weights([weight], partial(_steep, weight), schedule, tmp_path, ignore)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:-100] if content is None else content)
    again = a_weight()
    assert train_weights([again], partial(_steep, again), schedule, tmp_path, ignore) == losses
    assert torch.equal(again, weight)


def test_every_photo_is_used_once_before_any_is_used_again() -> None:
    drawn = [photo_of(7, draw, 4) for draw in range(40)]
    rounds = [tuple(drawn[first : first + 4]) for first in range(0, 40, 4)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in rounds)
    assert len(set(rounds)) > 3
    assert drawn != [photo_of(8, draw, 4) for draw in range(40)]


def test_a_draw_has_its_own_numbers_whatever_was_drawn_before() -> None:
    first = torch.randn(3, generator=random_of(1, 5))
    torch.randn(7)
    assert torch.equal(first, torch.randn(3, generator=random_of(1, 5)))
    assert not torch.equal(first, torch.randn(3, generator=random_of(1, 6)))
    assert not torch.equal(first, torch.randn(3, generator=random_of(2, 5)))


def test_repeatable_restores_the_state_of_torch() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with repeatable(3):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
        first = torch.randn(2)
    with repeatable(3):
        assert torch.equal(torch.randn(2), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
