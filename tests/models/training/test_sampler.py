from collections import Counter

import pytest

from models.training.sampler import FixedStepsSampler


@pytest.mark.parametrize(("size", "draws"), [(3, 32), (28, 32), (100, 32)])
def test_every_image_is_shown_equally_often(size: int, draws: int) -> None:
    sampler = FixedStepsSampler(size, draws, seed=5)
    shown: list[tuple[int, int]] = []
    for epoch in range(7):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == draws
        shown += sampler
    counts = Counter(index for index, _ in shown)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [draw for _, draw in shown] == list(range(7 * draws))
    assert list(FixedStepsSampler(size, draws, 5, epoch=3)) == shown[3 * draws : 4 * draws]
    assert list(FixedStepsSampler(size, draws, seed=6)) != shown[:draws]
