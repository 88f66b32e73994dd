from collections import Counter

import pytest

from models.training.sampler import FixedStepsSampler


@pytest.mark.parametrize(("size", "draws"), [(3, 32), (28, 32), (100, 32)])
def test_every_image_is_shown_equally_often(size: int, draws: int) -> None:
    sampler = FixedStepsSampler([0] * size, draws, seed=5)
    shown: list[tuple[int, int]] = []
    for epoch in range(7):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == draws
        shown += sampler
    counts = Counter(index for index, _ in shown)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [draw for _, draw in shown] == list(range(7 * draws))
    assert list(FixedStepsSampler([0] * size, draws, 5, epoch=3)) == shown[3 * draws : 4 * draws]
    assert list(FixedStepsSampler([0] * size, draws, seed=6)) != shown[:draws]


def test_groups_take_turns_whatever_their_sizes() -> None:
    groups = [1, 0, 0, 1, 1, 1, 1, 1, 1]
    sampler = FixedStepsSampler(groups, 36, seed=1)
    shown = [index for index, _ in sampler]
    assert [groups[index] for index in shown] == [0, 1] * 18
    counts = Counter(shown)
    assert {counts[index] for index in (1, 2)} == {9}
    assert {counts[index] for index in (0, 3, 4, 5, 6, 7, 8)} <= {2, 3}
    assert [index for index, _ in FixedStepsSampler(groups, 12, 1, epoch=2)] == shown[24:]
